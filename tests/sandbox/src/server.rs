//! A small HTTP server over `std`: one thread per connection, keep-alive, and full control of the
//! socket, because silence, cut-off bodies and connections that just close are part of the job.

use crate::fault::Fault;
pub(crate) use crate::http::{Request, Response, form};
use crate::http::{read_request, send};
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// A lock that outlives a panic of its holder: what it guards is test state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// What followed the `?`, undecoded.
    pub query: String,
    /// Header names in lower case, values as sent.
    pub headers: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
    /// When it was read.
    pub at: SystemTime,
    /// The status that was answered; none while there is no answer.
    pub status: Option<u16>,
}

/// How a request ends.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Send(Response),
    /// After this time.
    Late(Response, Duration),
    /// Byte by byte, with this pause before each.
    Trickle(Response, Duration),
    /// The head promises the whole body; half of it is sent, then the connection closes.
    Cut(Response),
    /// Nothing, until the client gives up.
    Silence,
    /// The connection closes without an answer.
    Hangup,
}

/// What a server serves.
pub(crate) trait Site: Send + Sync + 'static {
    /// The answer to a request that no fault keeps away.
    fn answer(&self, request: &Request) -> Reply;

    /// The answer of this system to one of the faults that are its own
    /// ([`Fault::Maintenance`], [`Fault::RateLimited`], [`Fault::Node`]).
    fn trouble(&self, _fault: &Fault, request: &Request) -> Reply {
        self.answer(request)
    }
}

/// A running server; it stops, and cuts its connections, when dropped.
pub(crate) struct Server {
    port: u16,
    gate: Arc<Gate>,
    listening: Option<JoinHandle<()>>,
}

struct Gate {
    site: Arc<dyn Site>,
    fault: Mutex<Option<Fault>>,
    seen: Mutex<Vec<Seen>>,
    open: Mutex<HashMap<u64, TcpStream>>,
    next: AtomicU64,
    stopped: AtomicBool,
    stopping: Condvar,
    pauses: Mutex<()>,
}

impl Server {
    /// Serves on 127.0.0.1; port 0 means any free one.
    pub(crate) fn start(port: u16, site: Arc<dyn Site>) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let gate = Arc::new(Gate {
            site,
            fault: Mutex::new(None),
            seen: Mutex::new(Vec::new()),
            open: Mutex::new(HashMap::new()),
            next: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            stopping: Condvar::new(),
            pauses: Mutex::new(()),
        });
        let shared = Arc::clone(&gate);
        let listening = std::thread::spawn(move || accept(&listener, &shared));
        Ok(Server {
            port,
            gate,
            listening: Some(listening),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        *lock(&self.gate.fault) = fault;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.gate.seen).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gate.stopped.store(true, Ordering::SeqCst);
        self.gate.stopping.notify_all();
        for (_, stream) in lock(&self.gate.open).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // A connection of our own wakes the listener, which then sees that it should stop.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let woken = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        if let Some(listening) = self.listening.take()
            && woken
        {
            let _ = listening.join();
        }
    }
}

fn accept(listener: &TcpListener, gate: &Arc<Gate>) {
    for stream in listener.incoming() {
        if gate.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if gate.is_down() {
            continue;
        }
        let gate = Arc::clone(gate);
        std::thread::spawn(move || {
            let id = gate.next.fetch_add(1, Ordering::SeqCst);
            if let Ok(copy) = stream.try_clone() {
                lock(&gate.open).insert(id, copy);
                // A connection that fails ends; its client sees it.
                let _ = gate.converse(&stream);
                lock(&gate.open).remove(&id);
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

impl Gate {
    fn is_down(&self) -> bool {
        matches!(*lock(&self.fault), Some(Fault::Down))
    }

    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        loop {
            let request = match read_request(&mut reader)? {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(status) => return send(stream, &Response::empty(status), true, false),
            };
            if self.stopped.load(Ordering::SeqCst) || self.is_down() {
                return Ok(());
            }
            let place = self.note(&request);
            let reply = self.reply(&request);
            let headless = request.method == "HEAD";
            let close = request.wants_close();
            match reply {
                Reply::Send(response) => {
                    self.note_status(place, response.status);
                    send(stream, &response, close, headless)?;
                }
                Reply::Late(response, pause) => {
                    self.pause(pause);
                    self.note_status(place, response.status);
                    send(stream, &response, close, headless)?;
                }
                Reply::Trickle(response, pause) => {
                    self.note_status(place, response.status);
                    let mut out = stream;
                    let head = response.head(close);
                    for byte in head.as_bytes().iter().chain(&response.body) {
                        self.pause(pause);
                        out.write_all(&[*byte])?;
                    }
                }
                Reply::Cut(response) => {
                    self.note_status(place, response.status);
                    let mut out = stream;
                    out.write_all(response.head(true).as_bytes())?;
                    out.write_all(&response.body[..response.body.len() / 2])?;
                    return out.flush();
                }
                Reply::Silence => {
                    // Whatever the client still sends is swallowed; its leaving ends the wait.
                    return io::copy(&mut reader, &mut io::sink()).map(|_| ());
                }
                Reply::Hangup => return Ok(()),
            }
            if close {
                return Ok(());
            }
        }
    }

    /// What the fault of the moment makes of a request.
    fn reply(&self, request: &Request) -> Reply {
        let fault = lock(&self.fault)
            .as_mut()
            .and_then(|fault| fault.strike(&request.path));
        let done = |make: &dyn Fn(Response) -> Reply| match self.site.answer(request) {
            Reply::Send(response) => make(response),
            other => other,
        };
        match fault {
            None => self.site.answer(request),
            Some(Fault::Down) => Reply::Hangup,
            Some(Fault::Silent) => Reply::Silence,
            Some(Fault::Slow(pause)) => done(&|response| Reply::Late(response, pause)),
            Some(Fault::Trickle(pause)) => done(&|response| Reply::Trickle(response, pause)),
            Some(Fault::CutOff) => done(&Reply::Cut),
            Some(Fault::Html(page)) => Reply::Send(Response::html(page)),
            Some(Fault::Status(status, body)) => Reply::Send(Response::json(status, body)),
            Some(Fault::Redirect(to)) => Reply::Send(Response::empty(302).with("Location", to)),
            Some(own) => self.site.trouble(&own, request),
        }
    }

    /// Waits, unless the server stops.
    fn pause(&self, pause: Duration) {
        let guard = lock(&self.pauses);
        let going = |_: &mut ()| !self.stopped.load(Ordering::SeqCst);
        let _ = self.stopping.wait_timeout_while(guard, pause, going);
    }

    fn note(&self, request: &Request) -> usize {
        let mut seen = lock(&self.seen);
        seen.push(Seen {
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            at: SystemTime::now(),
            status: None,
        });
        seen.len() - 1
    }

    fn note_status(&self, place: usize, status: u16) {
        if let Some(seen) = lock(&self.seen).get_mut(place) {
            seen.status = Some(status);
        }
    }
}
