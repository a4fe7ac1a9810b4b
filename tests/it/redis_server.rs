//! A real Redis server on a free loopback port, gone when dropped.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl RedisServer {
    /// Starts a server that wants `password`. Needs `redis-server` (Debian: `apt-get install redis-server`).
    pub(crate) fn start(password: &str) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let folder = TempDir::new().expect("a temporary folder");
            let mut child = Command::new("redis-server")
                .args([
                    "--port",
                    &port.to_string(),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .args(["--requirepass", password, "--dir"])
                .arg(folder.path())
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            if answers(port, &mut child) {
                return RedisServer {
                    child,
                    port,
                    _folder: folder,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("no redis-server came up");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The answer of the server to one command.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, password: &str, command: &[&str]) -> T {
        let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", self.port)).expect("an address");
        let mut connection = client.get_connection().expect("the server answers");
        let (name, arguments) = command.split_first().expect("a command");
        redis::cmd(name)
            .arg(arguments)
            .query(&mut connection)
            .expect("the command is right")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("it has an address").port()
}

fn answers(port: u16, child: &mut Child) -> bool {
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    false
}
