//! A proxy in front of a server that does to connections what networks do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happens to what the client sends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// After so many bytes in all, the connection is closed; so again and again, `times` times.
    Cut { after: u64, times: u64 },
    /// The bytes are passed on, but the answers of so many connections are swallowed, and the connection is closed.
    Swallow { times: u64 },
    /// Every piece waits.
    Delay(Duration),
}

/// A proxy; it lives as long as the test.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// How often it did what it does.
    pub(crate) faults: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) fn start(server: u16, fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(AtomicU64::new(0));
        let passed = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&faults);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else {
                    continue;
                };
                let (faults, passed) = (Arc::clone(&shared), Arc::clone(&passed));
                std::thread::spawn(move || pass(client, server, fault, &faults, &passed));
            }
        });
        Proxy { port, faults }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

/// Passes on what the client sends until the fault or the end.
fn pass(mut client: TcpStream, mut server: TcpStream, fault: Fault, faults: &Arc<AtomicU64>, passed: &AtomicU64) {
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let seen = Arc::new(AtomicU64::new(0));
    let (counted, counter) = (Arc::clone(&seen), Arc::clone(faults));
    std::thread::spawn(move || {
        let mut bytes = [0; 1 << 13];
        while let Ok(count @ 1..) = answers.read(&mut bytes) {
            // The first answers are those of the greeting.
            let swallow = matches!(fault, Fault::Swallow { times } if counter.load(Ordering::SeqCst) < times);
            if swallow && counted.load(Ordering::SeqCst) > 4096 {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = back.shutdown(Shutdown::Both);
                return;
            }
            if back.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 1 << 13];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        match fault {
            Fault::Cut { after, times } => {
                let all = passed.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
                let done = faults.load(Ordering::SeqCst);
                if done < times && all > after * (done + 1) {
                    faults.fetch_add(1, Ordering::SeqCst);
                    // A part of a command gets through.
                    let _ = server.write_all(&bytes[..count / 2]);
                    break;
                }
            }
            Fault::Delay(time) => {
                faults.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(time);
            }
            Fault::Swallow { .. } => {
                seen.fetch_add(count as u64, Ordering::SeqCst);
            }
        }
        if server.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
