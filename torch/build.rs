//! Puts the C interface of `tch` and its way to libtorch into a library of its own, and makes the entries through which
//! the program reaches it once it is loaded.
//!
//! libtorch takes a quarter of a second to load. Linked in the usual way it would be loaded by every command, the
//! validation of a pipeline included, which needs no tensor. So `torch-sys` is built without its native part (its feature
//! `doc-only`), and that part, compiled here from its sources, becomes `libtowline_tch.so`. For each of its functions
//! the program gets an entry of the same name that jumps through a table, which is filled when the library is loaded.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

/// The files of `torch-sys` that declare the functions of its native part.
const DECLARATIONS: [&str; 3] = ["src/lib.rs", "src/c_generated.rs", "src/cuda.rs"];
/// The sources of its native part.
const SOURCES: [&str; 2] = ["libtch/torch_api.cpp", "libtch/torch_api_generated.cpp"];
/// A package through which cargo says where `torch-sys` lies.
const LOCATE: &str = r#"
[package]
name = "locate"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
torch-sys = { version = "0.26", features = ["doc-only"] }
"#;

fn main() -> Result<()> {
    for name in ["LIBTORCH", "LIBTORCH_USE_PYTORCH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/streams.s");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("OS") != "linux" || target("ARCH") != "x86_64" {
        return Ok(());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let torch_sys = torch_sys(&out)?;
    let names = functions(&torch_sys)?;
    fs::write(out.join("entries.s"), entries(&names))?;
    fs::write(out.join("names.rs"), name_list(&names))?;
    link(&torch_sys, &libtorch()?, &out.join("libtowline_tch.so"))
}

/// The folder of the sources of `torch-sys`.
///
/// Cargo is asked about a package that depends on nothing else. About this workspace it could not answer without the
/// network: it would want the packages of every other platform, and those that only tests need, which a first build
/// does not download.
fn torch_sys(out: &Path) -> Result<PathBuf> {
    let package = out.join("locate");
    fs::create_dir_all(package.join("src"))?;
    fs::write(package.join("src/lib.rs"), "")?;
    fs::write(package.join("Cargo.toml"), LOCATE)?;
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    if lock.exists() {
        fs::copy(lock, package.join("Cargo.lock"))?;
    }
    let cargo = env::var_os("CARGO").context("cargo sets CARGO")?;
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform"])
        .arg(env::var("TARGET").context("cargo sets TARGET")?)
        .current_dir(&package)
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "torch-sys")
        .find_map(|package| package["manifest_path"].as_str());
    let manifest = manifest.context("cargo metadata does not name torch-sys")?;
    let folder = Path::new(manifest).parent().context("a manifest lies in a folder")?;
    Ok(folder.to_owned())
}

/// The folder with `include` and `lib` of libtorch, found as `torch-sys` finds it.
fn libtorch() -> Result<PathBuf> {
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let code = "import os, torch; print(os.path.dirname(torch.__file__))";
        let output = Command::new("python3").args(["-c", code]).output()?;
        if !output.status.success() {
            bail!(
                "python3 cannot import torch: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        return Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()));
    }
    let folder = env::var_os("LIBTORCH").map(PathBuf::from);
    let folder = folder.context("LIBTORCH is not set: `cargo xtask setup` fetches libtorch")?;
    if folder.join("include/torch").is_dir() {
        Ok(folder)
    } else {
        bail!("there is no libtorch in {}: run `cargo xtask setup`", folder.display())
    }
}

/// The names of all functions of the native part, in a fixed order.
fn functions(torch_sys: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in DECLARATIONS {
        let text = fs::read_to_string(torch_sys.join(file)).with_context(|| file.to_owned())?;
        for declaration in text.split("pub fn ").skip(1) {
            // Declarations end with a semicolon, functions that are defined there have a body.
            let end = declaration.find([';', '{']).map(|at| &declaration[at..=at]);
            let name: String = declaration
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if end == Some(";") && !name.is_empty() {
                names.push(name);
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// One entry for each function. A slot of the table leads to the function itself once the library is loaded, and before
/// that to code that loads it and begins again; `r11` belongs to nobody at the time of a call.
fn entries(names: &[String]) -> String {
    let mut text = String::from(".section .text.towline_tch_entries,\"ax\",@progbits\n");
    for (index, name) in names.iter().enumerate() {
        let _ = write!(
            text,
            ".globl {name}\n.hidden {name}\n.type {name},@function\n{name}:\n\
             jmp *towline_tch_table+{}(%rip)\n\
             .Ltowline_tch_first_{index}:\nlea {name}(%rip), %r11\njmp towline_tch_first_call\n\
             .size {name}, .-{name}\n",
            8 * index,
        );
    }
    text.push_str(
        ".section .data.towline_tch_table,\"aw\",@progbits\n.p2align 3\n.globl towline_tch_table\n\
         .hidden towline_tch_table\ntowline_tch_table:\n",
    );
    for index in 0..names.len() {
        let _ = writeln!(text, ".quad .Ltowline_tch_first_{index}");
    }
    text.push_str(".text\n");
    text
}

fn name_list(names: &[String]) -> String {
    let items: String = names.iter().map(|name| format!("c\"{name}\",")).collect();
    format!("[{items}]")
}

/// Compiles the native part and links it with libtorch.
fn link(torch_sys: &Path, libtorch: &Path, library: &Path) -> Result<()> {
    let include = libtorch.join("include");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .pic(true)
        .warnings(false)
        .cargo_metadata(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .flag("-std=c++17")
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        .flag("-DGLOG_USE_GLOG_EXPORT")
        .files(SOURCES.map(|source| torch_sys.join(source)))
        .file("src/streams.s");
    let objects = build.try_compile_intermediates()?;
    let folder = libtorch.join("lib");
    let mut command = build.try_get_compiler()?.to_command();
    command
        .arg("-shared")
        .arg("-o")
        .arg(library)
        .args(objects)
        .arg("-L")
        .arg(&folder)
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        // The linker would drop libraries that no symbol names directly, and with them the registration of kernels.
        .args(["-Wl,--no-as-needed", "-Wl,--no-undefined", "-ltorch_cpu", "-lc10"]);
    if folder.join("libtorch_cuda.so").exists() {
        command.arg("-ltorch_cuda");
    }
    let output = command.output().context("cannot start the C++ compiler")?;
    if !output.status.success() {
        bail!("cannot link with libtorch: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
