//! Proposing items: what all instruction sets share, and the portable kernel.

use super::bound::{BlockFacts, LaneFacts};
use super::items::rounded;
use super::{BLOCK, LANES, STRIP};

/// Items of a block that were proposed, each with the lanes that it was proposed for.
#[derive(Debug)]
pub(crate) struct Proposed {
    len: usize,
    /// One place more than there are items: what has no lanes is written and then left behind.
    found: [(u32, u32); BLOCK + 1],
}

impl Proposed {
    pub(crate) fn new() -> Self {
        Proposed {
            len: 0,
            found: [(0, 0); BLOCK + 1],
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes an item of the block if it has lanes; each item at most once.
    #[inline]
    pub(crate) fn push(&mut self, item: usize, lanes: u32) {
        self.found[self.len] = (item as u32, lanes);
        self.len += usize::from(lanes != 0);
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        self.found[..self.len]
            .iter()
            .map(|&(item, lanes)| (item as usize, lanes))
    }
}

/// The queries of a tile as the kernels read them; lanes without a user are zero.
#[derive(Debug)]
pub(crate) enum Packed {
    /// Not packed yet.
    Nothing,
    /// [dim, LANES]
    Floats(Vec<f32>),
    /// Rounded: [dim / 4, LANES, 4], with rows of zeros up to a multiple of [`BYTE_GROUPS`].
    Bytes(Vec<i8>),
}

/// Groups of four bytes that AMX takes at once.
pub(crate) const BYTE_GROUPS: usize = 16;

pub(crate) fn pack_floats(queries: &[f32], dim: usize) -> Vec<f32> {
    let mut packed = vec![0.0; dim * LANES];
    for (lane, query) in queries.chunks_exact(dim).enumerate() {
        for (place, &x) in query.iter().enumerate() {
            packed[place * LANES + lane] = x;
        }
    }
    packed
}

pub(crate) fn pack_bytes(queries: &[f32], dim: usize, scales: &[f64; LANES]) -> Vec<i8> {
    let groups = dim.div_ceil(4).next_multiple_of(BYTE_GROUPS);
    let mut packed = vec![0; groups * LANES * 4];
    for (lane, query) in queries.chunks_exact(dim).enumerate() {
        for (place, &x) in query.iter().enumerate() {
            packed[(place / 4 * LANES + lane) * 4 + place % 4] = rounded(x, scales[lane]).0 as i8;
        }
    }
    packed
}

/// The largest values of strips of items, per lane.
#[derive(Debug)]
pub(crate) enum Maxima {
    /// In `f32`.
    Floats(Vec<[f32; LANES]>),
    /// In `i8`, offset included.
    Bytes(Vec<[i32; LANES]>),
}

impl Maxima {
    pub(crate) fn strips(&self) -> usize {
        match self {
            Maxima::Floats(strips) => strips.len(),
            Maxima::Bytes(strips) => strips.len(),
        }
    }

    /// What the strips guarantee in a lane.
    pub(crate) fn of_lane<'a>(
        &'a self,
        lane: usize,
        lanes: &'a LaneFacts,
        block: impl Fn(usize) -> &'a BlockFacts + 'a,
    ) -> impl Iterator<Item = f32> + 'a {
        (0..self.strips()).map(move |strip| match self {
            Maxima::Floats(strips) => lanes.guaranteed(block(strip), lane, strips[strip][lane]),
            Maxima::Bytes(strips) => lanes.guaranteed_i8(block(strip), lane, strips[strip][lane]),
        })
    }
}

/// Lanes that the portable kernel sums at once, and items.
const WIDE: usize = 8;
const HIGH: usize = 4;

/// Sums of `HIGH` or fewer rows for `WIDE` lanes.
#[inline]
fn sums(rows: &[f32], dim: usize, users: &[f32], first: usize) -> [[f32; WIDE]; HIGH] {
    let mut sums = [[0.0; WIDE]; HIGH];
    for (place, users) in users.chunks_exact(LANES).enumerate() {
        let users = &users[first..first + WIDE];
        for (sums, row) in sums.iter_mut().zip(rows.chunks_exact(dim)) {
            let x = row[place];
            for (sum, user) in sums.iter_mut().zip(users) {
                *sum += x * user;
            }
        }
    }
    sums
}

/// Proposes the rows whose value is not below the limit of a lane.
pub(crate) fn propose(rows: &[f32], dim: usize, users: &[f32], limits: &[f32; LANES], proposed: &mut Proposed) {
    for (group, rows) in rows.chunks(dim * HIGH).enumerate() {
        let mut lanes = [0_u32; HIGH];
        for first in (0..LANES).step_by(WIDE) {
            let sums = sums(rows, dim, users, first);
            for (lanes, sums) in lanes.iter_mut().zip(sums) {
                for (lane, sum) in sums.iter().enumerate() {
                    *lanes |= u32::from(*sum >= limits[first + lane]) << (first + lane);
                }
            }
        }
        for (row, &lanes) in lanes.iter().enumerate().take(rows.len() / dim) {
            proposed.push(group * HIGH + row, lanes);
        }
    }
}

/// The largest value of every strip of rows.
pub(crate) fn maxima(rows: &[f32], dim: usize, users: &[f32], out: &mut Vec<[f32; LANES]>) {
    for strip in rows.chunks_exact(dim * STRIP) {
        let mut most = [f32::NEG_INFINITY; LANES];
        for rows in strip.chunks_exact(dim * HIGH) {
            for first in (0..LANES).step_by(WIDE) {
                for sums in sums(rows, dim, users, first) {
                    for (most, sum) in most[first..first + WIDE].iter_mut().zip(sums) {
                        *most = most.max(sum);
                    }
                }
            }
        }
        out.push(most);
    }
}
