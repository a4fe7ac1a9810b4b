//! Lets the worker program find libtorch at run time without an environment variable.

use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    for name in ["LIBTORCH", "LIBTORCH_LIB", "LIBTORCH_USE_PYTORCH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    match libtorch() {
        Ok(folder) => {
            println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
            // The linker would drop libraries that no symbol names directly, and with them the registration of kernels.
            println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        }
        Err(problem) => {
            eprintln!("{problem}");
            exit(1);
        }
    }
}

/// The folder of the libraries, found as `torch-sys` finds it. `torch-sys` would report an absent one as an error of the
/// C++ compiler.
fn libtorch() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    if variable("LIBTORCH_USE_PYTORCH").is_some() {
        let code = "import os, torch; print(os.path.dirname(torch.__file__))";
        let output = Command::new("python3").args(["-c", code]).output();
        let output = output.map_err(|error| format!("cannot run python3: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("LIBTORCH_USE_PYTORCH: python3 cannot import torch: {text}"));
        }
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return Ok(PathBuf::from(folder).join("lib"));
    }
    let folder = variable("LIBTORCH").unwrap_or_else(|| PathBuf::from("/usr"));
    let libraries = variable("LIBTORCH_LIB").unwrap_or_else(|| folder.clone()).join("lib");
    if libraries.is_dir() {
        Ok(libraries)
    } else {
        Err(format!(
            "there is no libtorch in {}: run `cargo xtask setup`",
            folder.display()
        ))
    }
}
