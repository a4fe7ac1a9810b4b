//! A server that speaks as much of S3 as a shared store needs, on a port of its own: objects in memory, path-style
//! addresses, every request signed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// The address of a server with these objects, by path; it lives as long as the tests do.
pub(crate) fn start(objects: &Objects) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let objects = Arc::clone(objects);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let objects = Arc::clone(&objects);
            // A client that goes away in the middle is no concern of the server.
            std::thread::spawn(move || answer(&stream, &objects).ok());
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: &TcpStream, objects: &Objects) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut signed) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or_default(),
            "authorization" => signed = value.trim().starts_with("AWS4-HMAC-SHA256 Credential=THE_KEY/"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut objects = objects.lock().expect("no test has panicked in here");
    let (status, body) = match (method, objects.get(path)) {
        _ if !signed => ("403 Forbidden", Vec::new()),
        ("PUT", _) => {
            objects.insert(path.to_owned(), body);
            ("200 OK", Vec::new())
        }
        ("GET" | "HEAD", Some(found)) => ("200 OK", found.clone()),
        _ => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"e\"\r\nLast-Modified: Tue, 24 Nov 2026 08:00:00 GMT\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    Ok(())
}
