//! A way to the integration that takes its time, as a tunnel between two hosts does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// An address that leads to `url`, `delay` away: whatever is said arrives that much later, either way, and as with a
/// tunnel of ssh nothing is passed on before the far end has said that it is connected.
pub fn far(url: &str, delay: Duration) -> String {
    let (host, path) = url
        .strip_prefix("ws://")
        .and_then(|rest| rest.split_once('/'))
        .expect("a ws address with a path");
    let near = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = near.local_addr().expect("its address");
    let host = host.to_owned();
    thread::spawn(move || {
        for stream in near.incoming() {
            let (Ok(stream), host) = (stream, host.clone()) else {
                return;
            };
            thread::spawn(move || {
                thread::sleep(delay);
                let Ok(end) = TcpStream::connect(host) else {
                    return;
                };
                thread::sleep(delay);
                let both = (stream.try_clone(), end.try_clone());
                if let (Ok(back), Ok(from)) = both {
                    thread::spawn(move || carry(from, back, delay));
                    carry(stream, end, delay);
                }
            });
        }
    });
    format!("ws://{address}/{path}")
}

/// Each side of the protocol waits for the other, so that no two things are on the way at once.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let _ = to.set_nodelay(true);
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut part) {
        thread::sleep(delay);
        if to.write_all(&part[..count]).is_err() {
            break;
        }
    }
    thread::sleep(delay);
    let _ = to.shutdown(Shutdown::Both);
}
