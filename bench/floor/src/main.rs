//! The floor: what a proxy of tools/call costs in Rust, on hyper 1 and one tokio thread. It does the bare proxy's work
//! and nothing else: token map, parse, rename, new id, forward, parse, restore the id. Values that nobody changes are
//! proven JSON and copied as text, which is the cheapest honest way.
//! Run: floor '{"upstream":"127.0.0.1:1","tokens":["t"],"names":{"bench-a":"a"}}'; prints one line of JSON.
//! Absent on purpose: event streams, limits, deadlines.

use std::{cell::RefCell, collections::{BTreeMap, HashMap}, convert::Infallible, rc::Rc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{handshake, SendRequest},
    header::{HeaderName, HeaderValue, AUTHORIZATION, CONTENT_TYPE, HOST},
    server::conn::http1,
    service::service_fn,
    Method, Request, Response, StatusCode,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};

#[derive(Deserialize)]
struct Options {
    upstream: String,
    tokens: Vec<String>,
    names: HashMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    params: Option<BTreeMap<&'a str, &'a RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    jsonrpc: &'a RawValue,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
}

type Sender = SendRequest<Full<Bytes>>;
type Failure = Box<dyn std::error::Error>;

struct Proxy {
    upstream: String,
    host: HeaderValue,
    tokens: HashMap<String, usize>,
    names: HashMap<String, (String, Box<RawValue>)>,
    idle: RefCell<Vec<Sender>>,
    next_id: RefCell<u64>,
}

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PASSED: [HeaderName; 4] = [
    SESSION,
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-method"),
    hyper::header::ACCEPT,
];
const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = code;
    response
}

impl Proxy {
    async fn connection(&self) -> Result<Sender, Failure> {
        while let Some(mut sender) = { self.idle.borrow_mut().pop() } {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(&self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let (head, body) = request.into_parts();
        let token = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if token.and_then(|token| self.tokens.get(token)).is_none() {
            return Ok(status(StatusCode::UNAUTHORIZED));
        }
        let body = body.collect().await?.to_bytes();
        let mut message: Message = serde_json::from_slice(&body)?;
        let mut outgoing = Request::builder().method(Method::POST).uri("/mcp").body(Full::default())?;
        let headers = outgoing.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, JSON);
        for name in PASSED {
            if let Some(value) = head.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        if let Some(params) = &mut message.params {
            if let Some(exposed) = params.get_mut("name") {
                let Some((name, json)) = self.names.get(serde_json::from_str::<&str>(exposed.get())?) else {
                    return Ok(status(StatusCode::NOT_FOUND));
                };
                *exposed = json;
                if head.headers.contains_key(&NAME) {
                    headers.insert(NAME, HeaderValue::from_str(name)?);
                }
            }
        }
        let id = message.id;
        let sent_id;
        if id.is_some() {
            let next = {
                let mut next = self.next_id.borrow_mut();
                *next += 1;
                *next
            };
            sent_id = RawValue::from_string(next.to_string())?;
            message.id = Some(&sent_id);
        }
        *outgoing.body_mut() = Full::new(Bytes::from(serde_json::to_vec(&message)?));

        let mut sender = self.connection().await?;
        let (head, body) = sender.send_request(outgoing).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.idle.borrow_mut().push(sender);

        let mut response = status(head.status);
        if let Some(session) = head.headers.get(&SESSION) {
            response.headers_mut().insert(SESSION, session.clone());
        }
        if body.is_empty() {
            return Ok(response);
        }
        let mut answer: Answer = serde_json::from_slice(&body)?;
        if let (Some(id), Some(sent)) = (id, message.id) {
            if answer.id.get() == sent.get() {
                answer.id = id;
            }
        }
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        *response.body_mut() = Full::new(Bytes::from(serde_json::to_vec(&answer)?));
        Ok(response)
    }
}

async fn serve(options: Options) -> Result<(), Failure> {
    let mut names = HashMap::new();
    for (exposed, name) in options.names {
        let json = RawValue::from_string(serde_json::to_string(&name)?)?;
        names.insert(exposed, (name, json));
    }
    let proxy = Rc::new(Proxy {
        host: HeaderValue::from_str(&options.upstream)?,
        upstream: options.upstream,
        tokens: options.tokens.iter().enumerate().map(|(n, token)| (format!("Bearer {token}"), n)).collect(),
        names,
        idle: RefCell::default(),
        next_id: RefCell::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let proxy = proxy.clone();
        let service = service_fn(move |request| {
            let proxy = proxy.clone();
            async move {
                let reply = proxy.forward(request).await;
                Ok::<_, Infallible>(reply.unwrap_or_else(|_| status(StatusCode::BAD_GATEWAY)))
            }
        });
        tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn main() -> Result<(), Failure> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let options = serde_json::from_str(&argument)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(options))
}
