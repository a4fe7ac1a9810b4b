//! Proposals in `i8` with AMX: 32 items by 32 users in four tiles, compared from memory with AVX-512.
//!
//! What surrounds the instructions is tested on every processor with VNNI through [`Multiply::Emulated`], which does in plain code what the tiles do.
#![expect(unsafe_code, reason = "tiles are instructions of their own")]

use std::arch::asm;
use std::arch::x86_64::{_mm512_cmpgt_epi32_mask, _mm512_loadu_si512, _mm512_max_epi32, _mm512_storeu_si512};

use super::propose::{BYTE_GROUPS, Proposed};
use super::propose_vnni::{self, ByteRows};
use super::{LANES, STRIP};
use crate::linalg::amx::{ROW, Tiles};

/// Items that are multiplied at once.
const HIGH: usize = 32;

/// Products of 32 items by 32 users.
#[derive(Debug)]
pub(crate) enum Multiply {
    /// By the tiles of this thread.
    Tiles(Tiles),
    /// In plain code.
    #[cfg(test)]
    Emulated,
}

impl Multiply {
    /// `out[item][lane] = Σ item·lane` over `steps` times 64 bytes of 32 rows that begin `stride` apart.
    ///
    /// # Safety
    /// 31 strides and `steps` times 64 bytes from `rows` on can be read, and as many times 16 groups of users.
    unsafe fn run(
        &self,
        rows: *const u8,
        stride: usize,
        users: *const i8,
        steps: usize,
        out: &mut [i32; HIGH * LANES],
    ) {
        match self {
            // SAFETY: the caller vouches for the bounds; `out` has 32 rows of 128 bytes.
            Multiply::Tiles(_) => unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{low} + {stride}]",
                    "tileloadd tmm5, [{high} + {stride}]",
                    "tileloadd tmm6, [{users} + {line}]",
                    "tileloadd tmm7, [{users} + {line} + 64]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "tdpbusd tmm2, tmm5, tmm6",
                    "tdpbusd tmm3, tmm5, tmm7",
                    "add {low}, 64",
                    "add {high}, 64",
                    "add {users}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{out} + {line}], tmm0",
                    "tilestored [{out} + {line} + 64], tmm1",
                    "add {out}, 2048",
                    "tilestored [{out} + {line}], tmm2",
                    "tilestored [{out} + {line} + 64], tmm3",
                    low = inout(reg) rows => _,
                    high = inout(reg) rows.add(16 * stride) => _,
                    stride = in(reg) stride,
                    users = inout(reg) users => _,
                    line = in(reg) LANES * 4,
                    steps = inout(reg) steps => _,
                    out = inout(reg) out.as_mut_ptr() => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            },
            #[cfg(test)]
            // SAFETY: as above.
            Multiply::Emulated => unsafe {
                for (item, sums) in out.chunks_exact_mut(LANES).enumerate() {
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        *sum = (0..steps * ROW)
                            .map(|place| {
                                let user = *users.add((place / 4 * LANES + lane) * 4 + place % 4);
                                i32::from(*rows.add(item * stride + place)) * i32::from(user)
                            })
                            .sum();
                    }
                }
            },
        }
    }
}

/// Groups of 64 bytes of a row, the last one perhaps in part; what lies beyond a row meets zeros.
fn steps(rows: ByteRows<'_>, users: &[i8]) -> usize {
    let steps = rows.stride.div_ceil(ROW);
    assert!(rows.bytes.len() >= rows.count * rows.stride + ROW && steps > 0);
    assert!(users.len() >= steps * BYTE_GROUPS * LANES * 4);
    steps
}

/// Proposes the rows whose sum is above the limit of a lane.
///
/// # Safety
/// The processor has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) unsafe fn propose(
    multiply: &Multiply,
    rows: ByteRows<'_>,
    users: &[i8],
    limits: &[i32; LANES],
    proposed: &mut Proposed,
) {
    let steps = steps(rows, users);
    let mut sums = [0; HIGH * LANES];
    let whole = rows.count - rows.count % HIGH;
    // SAFETY: `steps` has checked that every row and 64 bytes more can be read, and as many users; `sums` has a row of 32
    // for every item, and `limits` is one.
    unsafe {
        let halves = [
            _mm512_loadu_si512(limits.as_ptr().cast()),
            _mm512_loadu_si512(limits.as_ptr().add(16).cast()),
        ];
        for start in (0..whole).step_by(HIGH) {
            let from = rows.bytes.as_ptr().add(start * rows.stride);
            multiply.run(from, rows.stride, users.as_ptr(), steps, &mut sums);
            for (item, sums) in sums.chunks_exact(LANES).enumerate() {
                let low = _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(sums.as_ptr().cast()), halves[0]);
                let high = _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(sums.as_ptr().add(16).cast()), halves[1]);
                proposed.push(start + item, u32::from(high) << 16 | u32::from(low));
            }
        }
    }
    // SAFETY: the caller has VNNI.
    unsafe { propose_vnni::propose(rows, whole, users, limits, proposed) }
}

/// The largest sum of every strip of rows.
///
/// # Safety
/// The processor has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) unsafe fn maxima(multiply: &Multiply, rows: ByteRows<'_>, users: &[i8], out: &mut Vec<[i32; LANES]>) {
    let steps = steps(rows, users);
    let mut sums = [0; HIGH * LANES];
    let whole = rows.count - rows.count % HIGH;
    let mut most = [i32::MIN; LANES];
    for start in (0..whole).step_by(HIGH) {
        // SAFETY: as in `propose`.
        unsafe {
            let from = rows.bytes.as_ptr().add(start * rows.stride);
            multiply.run(from, rows.stride, users.as_ptr(), steps, &mut sums);
        }
        for (item, sums) in sums.chunks_exact(LANES).enumerate() {
            // SAFETY: both have 32 elements.
            unsafe {
                for half in [0, 16] {
                    let target = most.as_mut_ptr().add(half);
                    let sums = _mm512_loadu_si512(sums.as_ptr().add(half).cast());
                    let largest = _mm512_max_epi32(_mm512_loadu_si512(target.cast()), sums);
                    _mm512_storeu_si512(target.cast(), largest);
                }
            }
            if (start + item + 1).is_multiple_of(STRIP) {
                out.push(std::mem::replace(&mut most, [i32::MIN; LANES]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Proposer;

    /// Values that are the same everywhere.
    fn bytes(count: usize, salt: u64) -> Vec<u8> {
        let byte = |place| crate::chance(salt, 3, place as u64).to_le_bytes()[2];
        (0..count).map(byte).collect()
    }

    /// Every count just below, at and above what the tiles take at once, rows that end within 64 bytes and with them.
    #[test]
    fn what_is_proposed_is_what_vnni_proposes() {
        // The rest of the kernel needs VNNI.
        if !Proposer::testable().iter().any(|way| way.name() == Proposer::NAMES[3]) {
            return;
        }
        for stride in [4_usize, 60, 64, 68, 124, 128, 132] {
            // Beyond the last row there may be anything, and it meets zeros.
            let groups = (stride / 4).next_multiple_of(BYTE_GROUPS);
            let mut users: Vec<i8> = bytes(groups * LANES * 4, 1)
                .into_iter()
                .map(|byte| byte as i8)
                .collect();
            users[stride * LANES..].fill(0);
            for count in [0, 1, 11, 12, 31, 32, 33, 63, 64, 65, 96, 160, 191, 192] {
                let data = bytes(count * stride + ROW, 2);
                let rows = ByteRows {
                    bytes: &data,
                    count,
                    stride,
                };
                let limits = std::array::from_fn(|lane| {
                    if lane % 5 == 4 {
                        i32::MAX
                    } else {
                        lane as i32 * 500 - 9_000
                    }
                });
                let (mut found, mut expected) = (Proposed::new(), Proposed::new());
                // SAFETY: the processor has VNNI.
                unsafe {
                    propose(&Multiply::Emulated, rows, &users, &limits, &mut found);
                    propose_vnni::propose(rows, 0, &users, &limits, &mut expected);
                }
                let context = format!("{count} rows of {stride}");
                let lanes = |proposed: &Proposed| proposed.iter().collect::<Vec<_>>();
                assert_eq!(lanes(&found), lanes(&expected), "{context}");
                assert!(
                    count < 31 || found.iter().next().is_some() && lanes(&found).len() <= count,
                    "{context}"
                );
                if count % HIGH == 0 {
                    let (mut found, mut expected) = (Vec::new(), Vec::new());
                    // SAFETY: the processor has VNNI.
                    unsafe {
                        maxima(&Multiply::Emulated, rows, &users, &mut found);
                        propose_vnni::maxima(rows, &users, &mut expected);
                    }
                    assert_eq!(found, expected, "{context}");
                }
            }
        }
    }
}
