//! An OAuth token endpoint, on a thread of its own, that answers as the test says and keeps what it was asked.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the endpoint was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// How many requests came before.
    pub before: usize,
    /// Method, path and query.
    pub line: String,
    /// `id:secret` of HTTP Basic, as they are in a form.
    pub client: String,
    /// The body.
    pub form: String,
}

/// What it does.
pub enum Answer {
    /// A status, headers and a body.
    Http(u16, Vec<(&'static str, String)>, String),
    /// Nothing, for ever.
    Silence,
}

impl Answer {
    /// A status and a JSON body.
    pub fn json(status: u16, body: impl ToString) -> Self {
        Self::Http(status, vec![("content-type", "application/json".to_owned())], body.to_string())
    }

    /// A token that lives for so many seconds.
    pub fn token(token: &str, expires_in: impl Into<Option<u64>>) -> Self {
        let mut body = serde_json::json!({ "access_token": token, "token_type": "Bearer" });
        if let Some(seconds) = expires_in.into() {
            body["expires_in"] = seconds.into();
        }
        Self::json(200, body)
    }
}

type Answers = Arc<Mutex<Box<dyn FnMut(&Asked) -> Answer + Send>>>;

/// The endpoint.
pub struct TokenEndpoint {
    /// Where it is: `http://127.0.0.1:PORT/token`, or https.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Answers,
}

impl TokenEndpoint {
    /// Over http.
    pub fn start(answers: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        Self::start_with(None, answers)
    }

    /// Over https, by this certificate and its key in PEM.
    pub fn start_tls(cert: &str, key: &str, answers: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
        Self::start_with(Some(TlsAcceptor::from(Arc::new(tls))), answers)
    }

    fn start_with(tls: Option<TlsAcceptor>, answers: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let answers: Answers = Arc::new(Mutex::new(Box::new(answers)));
        let (hears, says) = (Arc::clone(&asked), Arc::clone(&answers));
        let scheme = if tls.is_some() { "https" } else { "http" };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, tls, hears, says));
        });
        Self { url: format!("{scheme}://{address}/token"), asked, answers }
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answers: impl FnMut(&Asked) -> Answer + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(listener: StdListener, tls: Option<TlsAcceptor>, asked: Arc<Mutex<Vec<Asked>>>, answers: Answers) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, asked, answers) = (tls.clone(), Arc::clone(&asked), Arc::clone(&answers));
        tokio::spawn(async move {
            let service = service_fn(|request| respond(request, Arc::clone(&asked), Arc::clone(&answers)));
            // A client that goes away, or does not trust us, is what some tests are about.
            let _ = match tls {
                None => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Answers,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let basic = request.headers().get(AUTHORIZATION).and_then(|basic| basic.to_str().ok()?.strip_prefix("Basic "));
    let client = basic.and_then(|basic| String::from_utf8(STANDARD.decode(basic).ok()?).ok()).unwrap_or_default();
    let form = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = {
        let mut asked = asked.lock().unwrap();
        let form = String::from_utf8_lossy(&form).into_owned();
        let before = asked.len();
        asked.push(Asked { before, line, client, form });
        (answers.lock().unwrap())(asked.last().unwrap())
    };
    match answer {
        Answer::Silence => std::future::pending().await,
        Answer::Http(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::new(body.into())).unwrap())
        }
    }
}

/// A bearer token that nobody signed, as Kafka's own validator takes it unless told otherwise.
pub fn unsecured_token(subject: &str, seconds_left: i64) -> String {
    let claims = claims(subject, seconds_left).to_string();
    let [head, claims] = [r#"{"alg":"none"}"#, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{head}.{claims}.")
}

/// A provider's key, by which brokers know its tokens.
#[derive(Clone)]
pub struct Signer(Arc<EcdsaKeyPair>);

impl Signer {
    pub fn generate() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self(Arc::new(EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap()))
    }

    /// The public key, as providers publish it.
    pub fn jwks(&self) -> String {
        let point = self.0.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let key = serde_json::json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "here", "x": x, "y": y,
        });
        serde_json::json!({ "keys": [key] }).to_string()
    }

    /// A token that this provider signed.
    pub fn token(&self, subject: &str, issuer: &str, audience: &str, seconds_left: i64) -> String {
        let mut claims = claims(subject, seconds_left);
        claims["iss"] = issuer.into();
        claims["aud"] = audience.into();
        let parts = [r#"{"alg":"ES256","kid":"here","typ":"JWT"}"#, &claims.to_string()];
        let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a token says of itself.
fn claims(subject: &str, seconds_left: i64) -> serde_json::Value {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    serde_json::json!({ "sub": subject, "iat": now.min(now + seconds_left) - 1, "exp": now + seconds_left })
}
