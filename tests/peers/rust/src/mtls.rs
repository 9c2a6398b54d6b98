//! One HTTPS request by mTLS with rustls.

use crate::{Options, Outcome, emit};
use rustls::pki_types::ServerName;
use serde_json::json;
use spiffe::X509Source;
use spiffe_rustls::{authorizer, mtls_client};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

const LIMIT: u64 = 1 << 20;

/// Calls `-url`; the server must be `-expect`, or any member of our trust domain.
pub async fn get(socket: &str, options: &Options) -> Outcome {
    let source = X509Source::builder().endpoint(socket).build().await?;
    let own = source.svid()?.spiffe_id().trust_domain().to_string();
    let expected = options.get("expect", "");
    let builder = mtls_client(source);
    let config = if expected.is_empty() {
        builder.authorize(authorizer::trust_domains([own.as_str()])?).build()?
    } else {
        builder.authorize(authorizer::exact([expected])?).build()?
    };
    let url = Url::parse(options.get("url", ""))?;
    let host = url.host_str().unwrap_or("127.0.0.1").to_owned();
    let tcp = TcpStream::connect((host.as_str(), url.port_or_known_default().unwrap_or(443))).await?;
    let name = ServerName::try_from(host.clone())?;
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", url.path());
    tls.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Some servers close without a TLS close_notify; the answer is whole by its length then.
    let ended = (&mut tls).take(LIMIT).read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {ended:?}"))?;
    let status: u16 = head.split(' ').nth(1).unwrap_or("0").parse()?;
    emit("response", json!({ "status": status, "body": body }));
    Ok(())
}
