//! A workload on the Rust crate `spiffe`: its identities, mTLS and tokens, as JSON lines.
//!
//! Commands: watch, fetch, get, jwt, validate; the flags are those of the Go workload.

mod mtls;

use futures::StreamExt;
use serde_json::{Value, json};
use spiffe::{JwtSvid, SpiffeId, WorkloadApiClient, X509Context};
use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

pub fn emit(event: &str, mut fields: Value) {
    fields["event"] = json!(event);
    println!("{fields}");
}

pub struct Options {
    flags: HashMap<String, String>,
}

impl Options {
    /// Reads `-name value` pairs, one dash or two.
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let words: Vec<String> = words.collect();
        let mut flags = HashMap::new();
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} has no value", pair[0])) };
            flags.insert(name.trim_start_matches('-').to_owned(), value.clone());
        }
        Ok(Self { flags })
    }

    pub fn get<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.flags.get(name).map_or(default, String::as_str)
    }

    fn timeout(&self) -> Result<Duration, Box<dyn Error + Send + Sync>> {
        Ok(Duration::from_secs_f64(self.get("timeout", "20s").trim_end_matches('s').parse()?))
    }
}

fn describe(context: &X509Context) -> Value {
    let svids: Vec<Value> = context
        .svids()
        .iter()
        .map(|svid| {
            let serial = x509_parser::parse_x509_certificate(svid.leaf().as_bytes())
                .map_or_else(|_| String::new(), |(_, leaf)| leaf.tbs_certificate.serial.to_string());
            json!({
                "id": svid.spiffe_id().to_string(), "hint": svid.hint().unwrap_or(""),
                "serial": serial, "chain": svid.cert_chain().len(),
            })
        })
        .collect();
    let bundles: HashMap<String, usize> = context
        .bundle_set()
        .iter()
        .map(|(domain, bundle)| (domain.to_string(), bundle.authorities().len()))
        .collect();
    json!({ "svids": svids, "bundles": bundles })
}

async fn watch(client: &WorkloadApiClient, options: &Options) -> Outcome {
    let mut left: i64 = options.get("updates", "0").parse()?;
    let mut updates = client.stream_x509_contexts().await?;
    while let Some(update) = updates.next().await {
        emit("x509", describe(&update?));
        left -= 1;
        if left == 0 {
            return Ok(());
        }
    }
    Err("the stream ended".into())
}

async fn fetch(client: &WorkloadApiClient) -> Outcome {
    emit("x509", describe(&client.fetch_x509_context().await?));
    Ok(())
}

/// Fetches tokens and checks each twice: with the bundles here, and by asking the agent.
async fn jwt(client: &WorkloadApiClient, options: &Options) -> Outcome {
    let audience = options.get("audience", "peer");
    let wanted = options.get("spiffe-id", "");
    let subject = if wanted.is_empty() { None } else { Some(SpiffeId::new(wanted)?) };
    let bundles = client.fetch_jwt_bundles().await?;
    for svid in client.fetch_all_jwt_svids([audience], subject.as_ref()).await? {
        JwtSvid::parse_and_validate(svid.token(), &bundles, &[audience])?;
        client.validate_jwt_token(audience, svid.token()).await?;
        emit(
            "jwt",
            json!({
                "id": svid.spiffe_id().to_string(), "audience": svid.audience(), "token": svid.token(),
                "hint": svid.hint().unwrap_or(""), "expiry": svid.expiry().unix_timestamp(),
            }),
        );
    }
    Ok(())
}

async fn validate(client: &WorkloadApiClient, options: &Options) -> Outcome {
    let svid = client.validate_jwt_token(options.get("audience", "peer"), options.get("token", "")).await?;
    emit("valid", json!({ "id": svid.spiffe_id().to_string() }));
    Ok(())
}

async fn run(command: &str, options: &Options) -> Outcome {
    let environment = std::env::var("SPIFFE_ENDPOINT_SOCKET").unwrap_or_default();
    let socket = options.get("socket", &environment).replace("unix://", "unix:");
    if command == "get" {
        return mtls::get(&socket, options).await;
    }
    let client = WorkloadApiClient::connect_to(&socket).await?;
    match command {
        "watch" => watch(&client, options).await,
        "fetch" => fetch(&client).await,
        "jwt" => jwt(&client, options).await,
        "validate" => validate(&client, options).await,
        other => Err(format!("usage: rust-workload watch|fetch|get|jwt|validate; got {other:?}").into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let outcome = async {
        let options = Options::parse(words)?;
        let limit = options.timeout()?;
        tokio::time::timeout(limit, run(&command, &options)).await?
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            emit("error", json!({ "error": text }));
            ExitCode::FAILURE
        }
    }
}
