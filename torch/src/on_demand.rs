//! Loading `libtowline_tch.so` and filling the table that the program's entries jump through. See `build.rs`.
#![allow(
    unsafe_code,
    reason = "symbols of a library are addresses, and the entries are assembly"
)]

use std::arch::global_asm;
use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::LoadError;

/// The functions of the library, in the order of the table.
const NAMES: &[&CStr] = &include!(concat!(env!("OUT_DIR"), "/names.rs"));
/// The library, as it was built.
const BUILT: &str = concat!(env!("OUT_DIR"), "/libtowline_tch.so");
const FILE: &str = "libtowline_tch.so";

unsafe extern "C" {
    /// One slot for each name; entries of the same names jump through it.
    static towline_tch_table: [AtomicPtr<c_void>; NAMES.len()];

    // What the library calls back; `torch-sys` defines them.
    fn tch_write_stream_destructor();
    fn tch_write_stream_write();
    fn tch_read_stream_destructor();
    fn tch_read_stream_stream_position();
    fn tch_read_stream_seek_start();
    fn tch_read_stream_seek_end();
    fn tch_read_stream_read();
}

/// In the order of `streams.s`.
const CALLBACKS: [unsafe extern "C" fn(); 7] = [
    tch_write_stream_destructor,
    tch_write_stream_write,
    tch_read_stream_destructor,
    tch_read_stream_stream_position,
    tch_read_stream_seek_start,
    tch_read_stream_seek_end,
    tch_read_stream_read,
];

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/entries.s")),
    // The first call of a function, with the address of its entry in r11: keeps every register that can hold an
    // argument, loads the library, and begins again. At a call the stack is 8 bytes off a multiple of 16; the frame
    // pointer and eight registers more leave it at one.
    ".globl towline_tch_first_call",
    ".hidden towline_tch_first_call",
    "towline_tch_first_call:",
    "push %rbp",
    "mov %rsp, %rbp",
    "push %r11",
    "push %rax",
    "push %rdi",
    "push %rsi",
    "push %rdx",
    "push %rcx",
    "push %r8",
    "push %r9",
    "sub $128, %rsp",
    "movups %xmm0, (%rsp)",
    "movups %xmm1, 16(%rsp)",
    "movups %xmm2, 32(%rsp)",
    "movups %xmm3, 48(%rsp)",
    "movups %xmm4, 64(%rsp)",
    "movups %xmm5, 80(%rsp)",
    "movups %xmm6, 96(%rsp)",
    "movups %xmm7, 112(%rsp)",
    "call {load_or_stop}",
    "movups (%rsp), %xmm0",
    "movups 16(%rsp), %xmm1",
    "movups 32(%rsp), %xmm2",
    "movups 48(%rsp), %xmm3",
    "movups 64(%rsp), %xmm4",
    "movups 80(%rsp), %xmm5",
    "movups 96(%rsp), %xmm6",
    "movups 112(%rsp), %xmm7",
    "add $128, %rsp",
    "pop %r9",
    "pop %r8",
    "pop %rcx",
    "pop %rdx",
    "pop %rsi",
    "pop %rdi",
    "pop %rax",
    "pop %r11",
    "pop %rbp",
    "jmp *%r11",
    load_or_stop = sym load_or_stop,
    options(att_syntax)
);

/// Loads libtorch, unless it is loaded already. Once it failed it is not tried again.
pub fn load() -> Result<(), LoadError> {
    static LOADED: OnceLock<Result<(), LoadError>> = OnceLock::new();
    LOADED.get_or_init(|| fill(&library()).map_err(LoadError)).clone()
}

/// The library beside the program, where it was put with it, or where it was built.
fn library() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.join(FILE)));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(BUILT))
}

extern "C" fn load_or_stop() {
    if let Err(error) = load() {
        eprintln!("error: {error}");
        std::process::abort();
    }
}

fn fill(path: &Path) -> Result<(), String> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the name ends with NUL. The initialisers that run are those of libtorch, which any program that is linked
    // with it runs at its start.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        return Err(last_error());
    }
    let callbacks = symbol(library, c"towline_tch_callbacks")?.cast::<[unsafe extern "C" fn(); 7]>();
    // SAFETY: `streams.s` reserves these 56 bytes for seven addresses, and nothing reads them before a function of the
    // library is called, which the table makes possible below.
    unsafe { callbacks.write(CALLBACKS) };
    let functions = NAMES
        .iter()
        .map(|name| symbol(library, name))
        .collect::<Result<Vec<_>, _>>()?;
    // SAFETY: the table is in the data of this program, with one aligned slot for each name; slots are only accessed
    // atomically, here and by the jumps of the entries.
    let table = unsafe { &towline_tch_table };
    for (slot, function) in table.iter().zip(functions) {
        slot.store(function, Ordering::Release);
    }
    Ok(())
}

fn symbol(library: *mut c_void, name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: the library is open and stays so; the name ends with NUL.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() {
        Err(last_error())
    } else {
        Ok(address)
    }
}

fn last_error() -> String {
    // SAFETY: dlerror returns NULL or text that ends with NUL and stays until the next call of this thread.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader does not say why".to_owned();
    }
    // SAFETY: see above; it is copied before anything else is called.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    #[test]
    fn the_first_tensor_loads_libtorch_and_arguments_arrive() {
        let sum = Tensor::from_slice(&[1.5_f64, 2.25]).sum(Kind::Double);
        assert_eq!(f64::try_from(sum).expect("one number"), 3.75);
        assert_eq!(super::load(), Ok(()));
    }

    #[test]
    fn tensors_go_through_streams() {
        let mut bytes = Vec::new();
        Tensor::from_slice(&[1_i64, 2, 3])
            .save_to_stream(&mut bytes)
            .expect("written");
        let back = Tensor::load_from_stream(std::io::Cursor::new(bytes)).expect("read");
        assert_eq!(Vec::<i64>::try_from(back).expect("numbers"), [1, 2, 3]);
    }
}
