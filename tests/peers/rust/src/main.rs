//! A workload on the Rust crate `spiffe`: its identities, mTLS and tokens, as JSON lines.
//!
//! Commands: watch, fetch, serve, get, jwt, validate; the flags are those of the Go workload.

mod mtls;

use serde_json::{Value, json};
use spiffe::{JwtBundleSet, JwtSource, JwtSvid, SpiffeId, WorkloadApiClient, X509Context, X509Source};
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

/// Prints what the two sources hold, at first and after each change.
async fn watch(socket: &str, options: &Options) -> Outcome {
    let updates: i64 = options.get("updates", "0").parse()?;
    tokio::select! {
        outcome = watch_identities(socket, updates) => outcome,
        outcome = watch_jwt_bundles(socket) => outcome,
    }
}

async fn watch_identities(socket: &str, updates: i64) -> Outcome {
    let source = X509Source::builder().endpoint(socket).build().await?;
    let mut changes = source.updated();
    let mut left = updates;
    loop {
        match source.x509_context() {
            Ok(context) => emit("x509", describe(&context)),
            Err(error) => emit("watch_error", json!({ "message": error.to_string() })),
        }
        left -= 1;
        if left == 0 {
            return Ok(());
        }
        changes.changed().await?;
    }
}

async fn watch_jwt_bundles(socket: &str) -> Outcome {
    let source = JwtSource::builder().endpoint(socket).build().await?;
    let mut changes = source.updated();
    loop {
        match source.bundle_set() {
            Ok(bundles) => emit("jwt_bundles", json!({ "keys": key_ids(&bundles) })),
            Err(error) => emit("watch_error", json!({ "message": error.to_string() })),
        }
        changes.changed().await?;
    }
}

fn key_ids(bundles: &JwtBundleSet) -> HashMap<String, Vec<String>> {
    bundles
        .iter()
        .map(|(domain, bundle)| {
            (domain.to_string(), bundle.jwt_authorities().map(|key| key.key_id().to_owned()).collect())
        })
        .collect()
}

async fn fetch(client: &WorkloadApiClient) -> Outcome {
    emit("x509", describe(&client.fetch_x509_context().await?));
    Ok(())
}

/// Fetches tokens and checks each twice: with the source's bundles, and by asking the agent.
async fn jwt(client: &WorkloadApiClient, socket: &str, options: &Options) -> Outcome {
    let audience = options.get("audience", "peer");
    let wanted = options.get("spiffe-id", "");
    let subject = if wanted.is_empty() { None } else { Some(SpiffeId::new(wanted)?) };
    let source = JwtSource::builder().endpoint(socket).build().await?;
    let svids = match &subject {
        // The source gives one token, the client gives all.
        Some(_) => vec![source.fetch_jwt_svid_with_id([audience], subject.as_ref()).await?],
        None => client.fetch_all_jwt_svids([audience], None).await?,
    };
    for svid in svids {
        JwtSvid::parse_and_validate(svid.token(), &source, &[audience])?;
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
    match command {
        "get" => return mtls::get(&socket, options).await,
        "serve" => return mtls::serve(&socket, options).await,
        "watch" => return watch(&socket, options).await,
        _ => {}
    }
    let client = WorkloadApiClient::connect_to(&socket).await?;
    match command {
        "fetch" => fetch(&client).await,
        "jwt" => jwt(&client, &socket, options).await,
        "validate" => validate(&client, options).await,
        other => Err(format!("usage: rust-workload watch|fetch|serve|get|jwt|validate; got {other:?}").into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let outcome = async {
        let options = Options::parse(words)?;
        let limit = options.timeout()?;
        if command == "serve" {
            return run(&command, &options).await;
        }
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
