//! The ways to a server: TLS, users, sockets, sentinels.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::redis::tests::servers::{Redis, ask, certificates, free_port};
use crate::redis::tests::{expected, publish, users};

/// A server that speaks TLS on one port, and plainly on another unless that is 0.
fn with_tls(plain: u16, port: u16, [authority, certificate, key]: &[String; 3], clients: &str) -> Redis {
    let (plain, tls) = (plain.to_string(), port.to_string());
    let options = [
        ["--port", &plain],
        ["--tls-port", &tls],
        ["--tls-cert-file", certificate],
        ["--tls-key-file", key],
        ["--tls-ca-cert-file", authority],
        ["--tls-auth-clients", clients],
    ];
    Redis::run("redis-server", options.as_flattened(), port)
}

#[test]
fn tls_needs_the_authority_that_signed_the_certificate() {
    let folder = tempdir().unwrap();
    let files = certificates(folder.path()).map(|path| path.display().to_string());
    let [authority, ..] = &files;
    let (plain, port) = (free_port(), free_port());
    let _server = with_tls(plain, port, &files, "no");
    let url = format!("rediss://localhost:{port}/0");
    for (mode, database) in [("overwrite", 0), ("swap", 1)] {
        let url = format!("rediss://127.0.0.1:{port}/{}", database * 2);
        let receipt = publish(
            &json!({ "url": url, "ca": authority, "publish": mode }),
            users(folder.path(), 200),
        )
        .unwrap();
        assert_eq!(receipt.records, 200, "{mode}");
        let found: String = ask(
            &format!("redis://127.0.0.1:{plain}/{}", database * 2),
            &["GET", "USER:1990"],
        );
        assert_eq!(
            found,
            expected(200).into_iter().find(|(key, _)| key == "USER:1990").unwrap().1
        );
    }
    // The system does not know this authority.
    let error = publish(&json!({ "url": url }), users(folder.path(), 2))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&url) && error.to_lowercase().contains("certificate"),
        "{error}"
    );
}

#[test]
fn certificates_of_clients_are_shown_to_servers_that_want_them() {
    let folder = tempdir().unwrap();
    let files = certificates(folder.path()).map(|path| path.display().to_string());
    let [authority, certificate, key] = &files;
    let port = free_port();
    let _server = with_tls(0, port, &files, "yes");
    let url = format!("rediss://127.0.0.1:{port}/0");
    let with = json!({ "url": url, "ca": authority, "client_certificate": certificate, "client_key": key });
    assert_eq!(publish(&with, users(folder.path(), 20)).unwrap().records, 20);
    let without = json!({ "url": url, "ca": authority, "retry_timeout": 0 });
    assert!(publish(&without, users(folder.path(), 20)).is_err());
}

#[test]
fn users_with_passwords_and_sockets_of_the_system() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let server = Redis::start(&["--unixsocket", socket.to_str().unwrap()]);
    // Cargo sets this variable for every test.
    let password = env!("CARGO_PKG_NAME");
    let rights = ["~USER:*", "~RECS:*", "+@all", "-@dangerous", "+info", "+client"];
    let mut command = vec!["ACL", "SETUSER", "job", "on"];
    let secret = format!(">{password}");
    command.push(&secret);
    command.extend(rights);
    let _: () = server.ask(&command);
    let url = format!("redis://job:${{secret.CARGO_PKG_NAME}}@127.0.0.1:{}/0", server.port);
    publish(&json!({ "url": url }), users(folder.path(), 20)).unwrap();
    let receipt = publish(
        &json!({ "url": format!("unix://{}", socket.display()) }),
        users(folder.path(), 30),
    )
    .unwrap();
    assert_eq!(receipt.details["unchanged"], 20, "it is the same server");
    assert_eq!(server.strings(0, "USER:"), expected(30));
}

struct Sentinel {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Sentinel {
    /// One that watches the master at a port, with more settings of its own.
    fn start(master: u16, more: &str) -> Self {
        let folder = tempdir().unwrap();
        let port = free_port();
        let file = folder.path().join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n{more}",
            folder.path().display()
        );
        std::fs::write(&file, settings).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..400 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Sentinel {
            child,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sentinels_name_the_master_also_after_it_has_changed() {
    let mut master = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let sentinel = Sentinel::start(master.port, "");
    let folder = tempdir().unwrap();
    let dead = free_port();
    let url = format!("redis+sentinel://127.0.0.1:{dead},127.0.0.1:{}/main/0", sentinel.port);
    let config = json!({ "url": url, "publish": "swap", "keep": 1 });
    publish(&config, users(folder.path(), 50)).unwrap();
    assert_eq!(master.strings(0, "USER:"), expected(50));
    let wrong = format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port);
    let error = publish(&json!({ "url": wrong }), users(folder.path(), 2))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no service `other`"), "{error}");

    // The sentinel must know the replica before it can promote it.
    let sentinel_url = format!("redis://127.0.0.1:{}", sentinel.port);
    let known = || ask::<Vec<redis::Value>>(&sentinel_url, &["SENTINEL", "REPLICAS", "main"]).len();
    let until = |what: &dyn Fn() -> bool| {
        (0..1200).any(|_| {
            what() || {
                std::thread::sleep(Duration::from_millis(25));
                false
            }
        })
    };
    assert!(until(&|| known() == 1));
    let caught_up = || replica.ask::<u64>(&["DBSIZE"]) == master.ask::<u64>(&["DBSIZE"]);
    assert!(until(&caught_up));

    let slow =
        json!({ "url": url, "publish": "swap", "keep": 1, "chunk": 10, "rate_limit": 1000, "retry_timeout": 60 });
    let data = users(folder.path(), 2000);
    let publishing = std::thread::spawn(move || publish(&slow, data));
    let begun = || master.ask_in::<u64>(1, &["DBSIZE"]) > 300;
    assert!(until(&begun));
    master.kill();
    let receipt = publishing.join().unwrap().unwrap();
    assert_eq!(receipt.records, 2000);
    assert_eq!(replica.strings(0, "USER:"), expected(2000));
}

#[test]
fn sentinels_that_ask_for_a_password_get_their_own() {
    let master = Redis::start(&[]);
    // Cargo sets these variables for every test.
    let (of_data, of_sentinel) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let _: () = master.ask(&["CONFIG", "SET", "requirepass", of_data]);
    let rights = "+auth +client +hello +info +ping +sentinel";
    let settings = format!(
        "sentinel auth-pass main {of_data}\nrequirepass all-{of_sentinel}\n\
         user watcher on >{of_sentinel} &* {rights}\nuser blind on >{of_sentinel} +auth +ping\n"
    );
    let sentinel = Sentinel::start(master.port, &settings);
    let url = format!(
        "redis+sentinel://:${{secret.CARGO_PKG_NAME}}@127.0.0.1:{}/main/0",
        sentinel.port
    );
    let folder = tempdir().unwrap();
    let publish = |more: &[(&str, &str)]| {
        let mut config = json!({ "url": url, "encoding": "string", "retry_timeout": 1 });
        for (name, value) in more {
            config[name] = json!(value);
        }
        publish(&config, users(folder.path(), 20))
    };
    let password = ("sentinel_password", "${secret.CARGO_PKG_VERSION}");
    publish(&[("sentinel_user", "watcher"), password]).unwrap();
    let of_default = publish(&[("sentinel_password", "all-${secret.CARGO_PKG_VERSION}")]).unwrap();
    assert_eq!(of_default.details["unchanged"], 20, "it is the same server");
    for (more, part) in [
        (vec![], "the sentinel requires a password"),
        (vec![("sentinel_user", "nobody"), password], "the sentinel refuses"),
        (vec![("sentinel_password", "wrong-word")], "the sentinel refuses"),
        (vec![("sentinel_user", "blind"), password], "ask for the master"),
    ] {
        let error = publish(&more).unwrap_err().to_string();
        assert!(error.contains(part), "{more:?}: {error}");
        for word in [of_data, of_sentinel, "wrong-word"] {
            assert!(!error.contains(word), "{error}");
        }
    }
}
