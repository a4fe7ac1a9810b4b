//! Which kernel proposes.

use super::bound::{limits, limits_i8};
use super::items::Items;
use super::propose::{self, Maxima, Packed, Proposed};
use super::tile::Tile;
use super::{BLOCK, LANES, MOST_DIMENSIONS};
#[cfg(target_arch = "x86_64")]
use super::{propose_amx, propose_avx2, propose_avx512, propose_vnni};
use crate::Isa;
use crate::isa::Level;
#[cfg(target_arch = "x86_64")]
use crate::linalg::amx;

/// How items are proposed. Values exist only for what this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposer(ProposerLevel);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProposerLevel {
    Floats(Isa),
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(all(target_arch = "x86_64", test))]
    EmulatedAmx,
}

impl Proposer {
    /// The names of all there are, the best last.
    pub const NAMES: [&'static str; 5] = ["portable", "AVX2", "AVX-512", "AVX-512 VNNI", "AMX"];

    /// All that this processor has, the best last.
    pub fn available() -> Vec<Self> {
        let found = Isa::available()
            .into_iter()
            .map(|isa| Proposer(ProposerLevel::Floats(isa)));
        #[cfg_attr(
            not(target_arch = "x86_64"),
            expect(unused_mut, reason = "other processors have no more")
        )]
        let mut found: Vec<Self> = found.collect();
        #[cfg(target_arch = "x86_64")]
        if Isa::best().0 == Level::Avx512 && is_x86_feature_detected!("avx512vnni") {
            found.push(Proposer(ProposerLevel::Vnni));
            if amx::available(amx::BYTES) {
                found.push(Proposer(ProposerLevel::Amx));
            }
        }
        found
    }

    /// All that this processor has, and AMX in plain code where the rest of its kernel can run.
    #[cfg(test)]
    pub(crate) fn testable() -> Vec<Self> {
        let found = Self::available();
        #[cfg(target_arch = "x86_64")]
        if found.contains(&Proposer(ProposerLevel::Vnni)) {
            return found
                .into_iter()
                .chain([Proposer(ProposerLevel::EmulatedAmx)])
                .collect();
        }
        found
    }

    /// The best that this processor has for vectors of this width.
    pub fn best(dim: usize) -> Self {
        let all = Self::available();
        let fit = all
            .into_iter()
            .rfind(|proposer| !proposer.by_bytes() || dim <= MOST_DIMENSIONS);
        fit.unwrap_or(Proposer(ProposerLevel::Floats(Isa::PORTABLE)))
    }

    /// Its name, for a person.
    pub fn name(self) -> &'static str {
        match self.0 {
            ProposerLevel::Floats(isa) => isa.name(),
            #[cfg(target_arch = "x86_64")]
            ProposerLevel::Vnni => Self::NAMES[3],
            #[cfg(target_arch = "x86_64")]
            ProposerLevel::Amx => Self::NAMES[4],
            #[cfg(all(target_arch = "x86_64", test))]
            ProposerLevel::EmulatedAmx => "AMX in plain code",
        }
    }

    /// Whether it reads items that are rounded to bytes.
    pub(crate) fn by_bytes(self) -> bool {
        !matches!(self.0, ProposerLevel::Floats(_))
    }

    /// The instruction set of all that is computed beside the proposals.
    pub(crate) fn isa(self) -> Isa {
        match self.0 {
            ProposerLevel::Floats(isa) => isa,
            #[cfg(target_arch = "x86_64")]
            _ => Isa::best(),
        }
    }

    /// The kernel, set up on this thread.
    pub(crate) fn kernel(self) -> Kernel {
        match self.0 {
            ProposerLevel::Floats(isa) => Kernel::Floats(isa),
            #[cfg(target_arch = "x86_64")]
            ProposerLevel::Vnni => Kernel::Vnni,
            #[cfg(target_arch = "x86_64")]
            ProposerLevel::Amx => {
                // SAFETY: this way exists only where AMX is available.
                #[expect(unsafe_code, reason = "the set-up of what was detected")]
                let tiles = unsafe { amx::Tiles::new() };
                Kernel::Amx(propose_amx::Multiply::Tiles(tiles))
            }
            #[cfg(all(target_arch = "x86_64", test))]
            ProposerLevel::EmulatedAmx => Kernel::Amx(propose_amx::Multiply::Emulated),
        }
    }
}

/// A kernel on its thread.
#[derive(Debug)]
pub(crate) enum Kernel {
    Floats(Isa),
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Amx(propose_amx::Multiply),
}

#[expect(
    unsafe_code,
    reason = "the dispatch to what was detected: a kernel of an instruction set exists only where the processor has it"
)]
impl Kernel {
    /// Proposes items of a block to the users of a tile.
    pub(crate) fn propose(&self, isa: Isa, items: &Items, block: usize, tile: &Tile<'_>, proposed: &mut Proposed) {
        proposed.clear();
        let facts = &items.blocks[block];
        match &tile.packed {
            Packed::Nothing => {}
            Packed::Floats(users) => {
                let mut least = [0.0; LANES];
                limits(isa, &tile.lanes, facts, &mut least);
                let rows = floats(items, block);
                match self {
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: see above.
                    Kernel::Floats(Isa(Level::Avx512)) => unsafe {
                        propose_avx512::propose(rows, items.dim, users, &least, proposed);
                    },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: see above.
                    Kernel::Floats(Isa(Level::Avx2)) => unsafe {
                        propose_avx2::propose(rows, items.dim, users, &least, proposed);
                    },
                    _ => propose::propose(rows, items.dim, users, &least, proposed),
                }
            }
            #[cfg_attr(
                not(target_arch = "x86_64"),
                expect(unused_variables, reason = "no kernel reads bytes")
            )]
            Packed::Bytes(users) => {
                let mut least = [0; LANES];
                limits_i8(isa, &tile.lanes, facts, &mut least);
                #[cfg(target_arch = "x86_64")]
                match self {
                    // SAFETY: see above.
                    Kernel::Amx(multiply) => unsafe {
                        propose_amx::propose(multiply, bytes(items, block), users, &least, proposed);
                    },
                    // SAFETY: see above; only kernels that read bytes have tiles of them.
                    _ => unsafe { propose_vnni::propose(bytes(items, block), 0, users, &least, proposed) },
                }
            }
        }
    }

    /// The largest values of the strips of the first blocks.
    pub(crate) fn maxima(&self, items: &Items, blocks: usize, tile: &Tile<'_>) -> Maxima {
        match &tile.packed {
            Packed::Nothing => Maxima::Floats(Vec::new()),
            Packed::Floats(users) => {
                let mut most = Vec::new();
                for rows in (0..blocks).map(|block| floats(items, block)) {
                    match self {
                        #[cfg(target_arch = "x86_64")]
                        // SAFETY: see above.
                        Kernel::Floats(Isa(Level::Avx512)) => unsafe {
                            propose_avx512::maxima(rows, items.dim, users, &mut most);
                        },
                        #[cfg(target_arch = "x86_64")]
                        // SAFETY: see above.
                        Kernel::Floats(Isa(Level::Avx2)) => unsafe {
                            propose_avx2::maxima(rows, items.dim, users, &mut most);
                        },
                        _ => propose::maxima(rows, items.dim, users, &mut most),
                    }
                }
                Maxima::Floats(most)
            }
            #[cfg_attr(
                not(target_arch = "x86_64"),
                expect(unused_variables, reason = "no kernel reads bytes")
            )]
            Packed::Bytes(users) => {
                #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "no kernel reads bytes"))]
                let mut most = Vec::new();
                #[cfg(target_arch = "x86_64")]
                for rows in (0..blocks).map(|block| bytes(items, block)) {
                    match self {
                        // SAFETY: see above.
                        Kernel::Amx(multiply) => unsafe { propose_amx::maxima(multiply, rows, users, &mut most) },
                        // SAFETY: see above.
                        _ => unsafe { propose_vnni::maxima(rows, users, &mut most) },
                    }
                }
                Maxima::Bytes(most)
            }
        }
    }
}

fn floats(items: &Items, block: usize) -> &[f32] {
    let end = ((block + 1) * BLOCK).min(items.count);
    &items.vectors[block * BLOCK * items.dim..end * items.dim]
}

#[cfg(target_arch = "x86_64")]
fn bytes(items: &Items, block: usize) -> propose_vnni::ByteRows<'_> {
    let count = BLOCK.min(items.count - block * BLOCK);
    propose_vnni::ByteRows {
        bytes: &items.bytes[block * BLOCK * items.byte_stride..],
        count,
        stride: items.byte_stride,
    }
}
