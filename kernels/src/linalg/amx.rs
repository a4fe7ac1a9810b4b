//! The tiles of AMX: eight registers of 16 rows of 64 bytes.
//!
//! The instructions are written in assembly, as the compiler's own functions for them are not stable.
#![expect(unsafe_code, reason = "tiles are instructions of their own")]

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Bytes of a row of a tile.
pub(crate) const ROW: usize = 64;

/// A bit of CPUID leaf 7, register EDX (Intel SDM volume 1, chapter 18).
const TILES: u32 = 1 << 24;
/// Products of bytes.
pub(crate) const BYTES: u32 = 1 << 25;
/// Products of bf16.
pub(crate) const BF16: u32 = 1 << 22;

/// Whether the processor has AMX for these elements and the system lets this process use it.
pub(crate) fn available(elements: u32) -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    let features = __cpuid_count(7, 0).edx;
    let wanted = TILES | elements;
    features & wanted == wanted
        && *USABLE.get_or_init(|| {
            let xsave = __cpuid_count(1, 0).ecx & 1 << 27 != 0;
            xsave && system_keeps_tiles() && permitted()
        })
}

fn system_keeps_tiles() -> bool {
    /// The parts of XCR0 that the system keeps for each thread.
    const KEPT: u32 = 1 << 17 | 1 << 18;
    let low: u32;
    // SAFETY: the caller has found XSAVE, so that XCR0 can be read.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    low & KEPT == KEPT
}

/// Asks Linux for the use of tile data (`arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`).
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let answer: i64;
    // SAFETY: the call takes two numbers and changes nothing but what this process may use.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

thread_local! {
    /// How many [`Tiles`] there are on this thread.
    static HOLDERS: Cell<usize> = const { Cell::new(0) };
}

/// The tiles of this thread, set up. Several on one thread are the same tiles: none of them holds anything from one product
/// to the next, and they are given back with the last.
#[derive(Debug)]
pub(crate) struct Tiles(PhantomData<*const ()>);

impl Tiles {
    /// Sets up eight tiles of 16 rows of 64 bytes.
    ///
    /// # Safety
    /// [`available`] said so for some elements.
    pub(crate) unsafe fn new() -> Self {
        #[repr(align(64))]
        struct Configuration([u8; 64]);
        if HOLDERS.replace(HOLDERS.get() + 1) > 0 {
            return Tiles(PhantomData);
        }
        let mut configuration = Configuration([0; 64]);
        configuration.0[0] = 1;
        for tile in 0..8 {
            configuration.0[16 + 2 * tile] = ROW as u8;
            configuration.0[48 + tile] = 16;
        }
        // SAFETY: the configuration is one of palette 1, whose tiles are that large.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) configuration.0.as_ptr(), options(nostack, readonly, preserves_flags));
        }
        Tiles(PhantomData)
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        HOLDERS.set(HOLDERS.get() - 1);
        if HOLDERS.get() > 0 {
            return;
        }
        // SAFETY: this was the last value that uses the tiles of this thread.
        unsafe {
            asm!("tilerelease", options(nomem, nostack, preserves_flags));
        }
    }
}
