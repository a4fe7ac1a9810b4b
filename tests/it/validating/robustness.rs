//! No text makes validation panic, hang or eat memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::workspace::Workspace;

/// Far more than the slowest of these takes, far less than a hang.
const PATIENCE: Duration = Duration::from_mins(2);
/// Virtual memory for the process, in KiB; the binary itself takes a part of it.
const MEMORY: u64 = 2 << 20;

/// Validates bytes in a process of its own, with limits, in every form; the exit code is that of an invalid pipeline.
fn survive(name: &str, bytes: &[u8]) {
    let workspace = Workspace::new();
    let path = workspace.path().join("p.yaml");
    std::fs::write(&path, bytes).expect("it can be written");
    for format in ["text", "sarif"] {
        let script = format!("ulimit -v {MEMORY}; exec \"$0\" validate p.yaml --format {format}");
        let mut child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_towline")])
            .current_dir(workspace.path())
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(workspace.path().join("told")).expect("a file"))
            .spawn()
            .expect("it starts");
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                child.kill().expect("it can be stopped");
                panic!("{name} ({format}) hangs");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let told = std::fs::read(workspace.path().join("told")).expect("it is there");
        let told = String::from_utf8_lossy(&told);
        let start: String = told.chars().take(400).collect();
        assert_eq!(status.code(), Some(2), "{name} ({format}): {start}");
        assert!(!told.contains("panicked"), "{name} ({format}): {start}");
        assert!(told.len() < 1 << 20, "{name} ({format}): {} bytes", told.len());
    }
}

#[test]
fn bombs_are_refused() {
    let mut aliases = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    let mut variables = String::from("version: 1\nvars:\n  v0: [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 10].join(", ");
        aliases.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        let items = vec![format!("\"${{vars.v{before}}}\""); 10].join(", ");
        variables.push_str(&format!("  v{level}: [{items}]\n"));
    }
    variables.push_str("nodes: { a: { op: Filter, with: { where: \"${vars.v29}\" } } }\n");
    survive("aliases", aliases.as_bytes());
    survive("variables", variables.as_bytes());
    survive("an alias of itself", b"a: &a [*a]\n");
}

#[test]
fn depth_is_refused() {
    for unit in ["[", "{a: ", "- ", "? ", "a:\n "] {
        survive(unit, unit.repeat(10_000).as_bytes());
    }
    let indented: String = (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    survive("indented", &indented.as_bytes()[..indented.len().min(15 << 20)]);
    let chain = format!("version: 1\nnodes:\n  a: {}b\n", "(".repeat(10_000));
    survive("parentheses", chain.as_bytes());
}

#[test]
fn lines_of_ten_megabytes_are_read() {
    for unit in [
        "x",
        "[",
        "a: ",
        "'",
        "\"\\u00e9",
        "- ",
        "&a ",
        "*a ",
        "# ",
        "${vars.a}",
        "\u{e9}",
        "!!x ",
        "\t",
        "{a: 1, ",
    ] {
        survive(unit, unit.repeat((10 << 20) / unit.len()).as_bytes());
    }
    let node = |value: &str| format!("version: 1\nnodes:\n  a: \"{value}\"\n");
    for unit in ["b + ", ">> B ", "b[c] >> D(e=1) + ", "${vars.x}", "("] {
        survive(unit, node(&unit.repeat((10 << 20) / unit.len())).as_bytes());
    }
    let keys: String = (0..500_000).map(|number| format!("k{}: 1, ", number % 1000)).collect();
    survive("keys", format!("{{ {keys} }}").as_bytes());
}

#[test]
fn what_is_no_text_is_told() {
    survive("nothing", b"");
    survive("NUL", b"version: 1\nnodes: { a\0: 1 }\n");
    survive("NULs", &[0; 4096]);
    survive("bytes", &(0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    survive("UTF-16", b"\xff\xfev\0e\0r\0");
    survive("cut", b"version: 1\nnodes: { \xc3");
    survive("line ends", b"version: 1\r\rnodes:\r\n\r a\n\r\n");
    survive("17 MB", &vec![b'\n'; 17 << 20]);
}

/// Inputs that once broke the reader.
#[test]
fn old_crashes_stay_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crashes");
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        survive(
            &path.display().to_string(),
            &std::fs::read(&path).expect("it can be read"),
        );
    }
}
