//! Dialing a session and switching the connection to SPDY.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::StreamError;

/// How much of a refusal is read and shown.
const REFUSAL: usize = 4 << 10;

/// Opens the session at `url`, speaking `protocol` inside of SPDY.
///
/// # Errors
/// All of [`StreamError`] but those about results.
pub(super) async fn dial(
    url: &str,
    protocol: &str,
) -> Result<impl AsyncRead + AsyncWrite + Send + use<>, StreamError> {
    let malformed = || StreamError::Url {
        url: url.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|_| malformed())?;
    let address = match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) => authority.to_string(),
        _ => return Err(malformed()),
    };
    let request = upgrade_request(&uri, &address, protocol).ok_or_else(malformed)?;
    let response = exchange(&address, request).await?;
    switched(&address, response).await
}

fn upgrade_request(uri: &Uri, address: &str, protocol: &str) -> Option<Request<Empty<Bytes>>> {
    Request::builder()
        .method(Method::POST)
        .uri(uri.path_and_query()?.as_str())
        .header(HOST, address)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", protocol)
        .body(Empty::new())
        .ok()
}

async fn exchange(
    address: &str,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, StreamError> {
    let dial = |source| StreamError::Dial {
        address: address.to_owned(),
        source,
    };
    let socket = TcpStream::connect(address).await.map_err(dial)?;
    // Key strokes are small and must not wait for each other.
    socket.set_nodelay(true).map_err(dial)?;
    let http = |source| http_error(address, source);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(http)?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(http)
}

async fn switched(
    address: &str,
    response: Response<Incoming>,
) -> Result<TokioIo<hyper::upgrade::Upgraded>, StreamError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await);
    }
    let upgraded = hyper::upgrade::on(response).await;
    Ok(TokioIo::new(
        upgraded.map_err(|source| http_error(address, source))?,
    ))
}

async fn refusal(response: Response<Incoming>) -> StreamError {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    StreamError::Refused {
        status,
        body: String::from_utf8_lossy(&body).trim().to_owned(),
    }
}

fn http_error(address: &str, source: hyper::Error) -> StreamError {
    StreamError::Http {
        address: address.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/exec/token", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn bytes_after_the_switch_belong_to_the_session() {
        let url = answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nfirst").await;
        let mut session = Box::pin(dial(&url, "v4.channel.k8s.io").await.unwrap());
        let mut text = String::new();
        session.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "first");
    }

    #[tokio::test]
    async fn a_refusal_shows_what_the_server_said() {
        let url = answering("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno token\n").await;
        let error = dial(&url, "v4.channel.k8s.io").await.err().unwrap();
        let expected = "the streaming server refused the session with 404 Not Found: no token";
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn only_plain_http_urls_are_dialed() {
        for url in ["https://127.0.0.1:1/exec/a", "/exec/a", "nonsense"] {
            let error = dial(url, "v4.channel.k8s.io").await.err().unwrap();
            assert!(matches!(error, StreamError::Url { .. }), "{url}: {error}");
        }
    }
}
