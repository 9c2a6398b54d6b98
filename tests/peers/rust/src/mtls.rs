//! HTTPS by mTLS with rustls: one request, or a server.

use crate::{Options, Outcome, emit};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use spiffe::x509_source::SvidPicker;
use spiffe::{X509Source, X509Svid};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use std::error::Error;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use url::Url;
use x509_parser::extensions::GeneralName;

const LIMIT: u64 = 1 << 20;

/// Takes the identity of `-spiffe-id`, else the first.
#[derive(Debug)]
struct Wanted(String);

impl SvidPicker for Wanted {
    fn pick_svid(&self, svids: &[Arc<X509Svid>]) -> Option<usize> {
        svids.iter().position(|svid| svid.spiffe_id().to_string() == self.0).or(Some(0))
    }
}

async fn source(socket: &str, options: &Options) -> Result<X509Source, Box<dyn Error + Send + Sync>> {
    let wanted = Wanted(options.get("spiffe-id", "").to_owned());
    Ok(X509Source::builder().endpoint(socket).picker(wanted).build().await?)
}

/// Calls `-url`; the server must be `-expect`, or any member of our trust domain.
pub async fn get(socket: &str, options: &Options) -> Outcome {
    let source = source(socket, options).await?;
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

/// Answers each HTTPS request with the caller's SPIFFE ID, until a signal.
pub async fn serve(socket: &str, options: &Options) -> Outcome {
    let source = source(socket, options).await?;
    let own = source.svid()?.spiffe_id().trust_domain().to_string();
    let expected = options.get("expect", "");
    let builder = mtls_server(source);
    let config = if expected.is_empty() {
        builder.authorize(authorizer::trust_domains([own.as_str()])?).build()?
    } else {
        builder.authorize(authorizer::exact([expected])?).build()?
    };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(options.get("listen", "127.0.0.1:0")).await?;
    emit("listening", json!({ "address": listener.local_addr()?.to_string() }));
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(acceptor, tcp).await {
                emit("refused", json!({ "error": error.to_string() }));
            }
        });
    }
}

async fn answer(acceptor: TlsAcceptor, tcp: TcpStream) -> Outcome {
    let mut tls = acceptor.accept(tcp).await?;
    let caller = tls.get_ref().1.peer_certificates().and_then(|chain| uri(&chain[0])).unwrap_or_default();
    read_head(&mut tls).await?;
    emit("peer", json!({ "id": caller }));
    let length = caller.len();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{caller}");
    tls.write_all(response.as_bytes()).await?;
    tls.shutdown().await?;
    Ok(())
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Outcome {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() as u64 > LIMIT {
            return Err("the head of the request is too long".into());
        }
        head.push(stream.read_u8().await?);
    }
    Ok(())
}

fn uri(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}
