//! Integers packed as Parquet packs them: bit by bit, in runs, and by their differences.
//!
//! The layouts are those of <https://parquet.apache.org/docs/file-format/data-pages/encodings/>: `RLE_DICTIONARY` and
//! `DELTA_BINARY_PACKED`.

/// Values that are packed at once: their bits end on a byte whatever their width.
const AT_ONCE: usize = 32;
/// Equal values in a row that are worth a run of their own, and what packed values are counted in.
const GROUP: usize = 8;
/// Differences with one least value, in four parts that have a width each.
const BLOCK: usize = 128;
const PART: usize = BLOCK / 4;

/// How many bits the values 0 to `most` need.
pub fn bits(most: u64) -> u32 {
    u64::BITS - most.leading_zeros()
}

/// Appends `values`, none of which needs more than `width` bits, in the hybrid of runs and packed groups.
///
/// # Panics
/// If `width` is over 32.
pub fn pack_runs(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut packed, mut at) = (0, 0);
    while let Some(group) = values.get(at..at + GROUP) {
        let first = group[0];
        if group.iter().any(|value| *value != first) {
            at += GROUP;
            continue;
        }
        pack_groups(&values[packed..at], width, out);
        let more = values[at + GROUP..].iter().take_while(|value| **value == first).count();
        pack_run(first, GROUP + more, width, out);
        at += GROUP + more;
        packed = at;
    }
    pack_groups(&values[packed..], width, out);
}

/// Appends a value of `width` bits that occurs so often in a row.
pub fn pack_run(value: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Appends values of one bit that are packed already, in whole bytes.
pub fn pack_flags(packed: &[u8], out: &mut Vec<u8>) {
    varint((packed.len() as u64) << 1 | 1, out);
    out.extend_from_slice(packed);
}

/// Packed groups with their number before them; the last is filled up with zeros.
fn pack_groups(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    varint((values.len().div_ceil(GROUP) as u64) << 1 | 1, out);
    let (blocks, rest) = values.as_chunks::<AT_ONCE>();
    for block in blocks {
        pack_block(block, width, out);
    }
    if !rest.is_empty() {
        let mut block = [0; AT_ONCE];
        block[..rest.len()].copy_from_slice(rest);
        let length = out.len() + rest.len().div_ceil(GROUP) * width as usize;
        pack_block(&block, width, out);
        out.truncate(length);
    }
}

/// Appends `values` by their differences, each from the one before it. With `narrow` the values are of 32 bits, and so are
/// the differences: in both widths, what overflows comes round again.
pub fn pack_differences(values: &[i64], narrow: bool, out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint((BLOCK / PART) as u64, out);
    varint(values.len() as u64, out);
    varint(zigzag(values.first().copied().unwrap_or_default()), out);
    let mut differences = [0_i64; BLOCK];
    let mut rest = values;
    while rest.len() > 1 {
        let count = BLOCK.min(rest.len() - 1);
        for (difference, pair) in differences.iter_mut().zip(rest.windows(2)) {
            *difference = pair[1].wrapping_sub(pair[0]);
        }
        if narrow {
            for difference in &mut differences {
                *difference = i64::from(*difference as i32);
            }
        }
        pack_difference_block(&differences[..count], out);
        rest = &rest[count..];
    }
}

fn pack_difference_block(differences: &[i64], out: &mut Vec<u8>) {
    let least = differences.iter().copied().min().unwrap_or_default();
    varint(zigzag(least), out);
    let widths = out.len();
    out.extend_from_slice(&[0; BLOCK / PART]);
    for (index, part) in differences.chunks(PART).enumerate() {
        let mut beyond = [0; PART];
        for (beyond, difference) in beyond.iter_mut().zip(part) {
            *beyond = difference.wrapping_sub(least) as u64;
        }
        let width = bits(beyond.iter().fold(0, |all, beyond| all | beyond));
        out[widths + index] = width as u8;
        if width > u32::BITS {
            pack_wide(&beyond, width, out);
        } else {
            pack_block(&beyond.map(|beyond| beyond as u32), width, out);
        }
    }
}

/// Values of more than 32 bits.
fn pack_wide(values: &[u64; PART], width: u32, out: &mut Vec<u8>) {
    let (mut waiting, mut filled) = (0_u128, 0);
    for value in values {
        waiting |= u128::from(*value) << filled;
        filled += width;
        while filled >= u32::BITS {
            out.extend_from_slice(&(waiting as u32).to_le_bytes());
            waiting >>= u32::BITS;
            filled -= u32::BITS;
        }
    }
}

macro_rules! by_width {
    ($block:expr, $width:expr, $out:expr, $($known:literal)*) => {
        match $width {
            $($known => pack_of_width::<$known>($block, $out),)*
            _ => panic!("values of {} bits are not packed here", $width),
        }
    };
}

fn pack_block(block: &[u32; AT_ONCE], width: u32, out: &mut Vec<u8>) {
    by_width!(block, width, out,
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

/// One text for every width, so that all shifts are known when it is compiled.
fn pack_of_width<const WIDTH: usize>(block: &[u32; AT_ONCE], out: &mut Vec<u8>) {
    let mut packed = [0_u8; AT_ONCE * 4];
    let (mut waiting, mut filled, mut at) = (0_u64, 0, 0);
    for value in block {
        waiting |= u64::from(*value) << filled;
        filled += WIDTH;
        if filled >= 32 {
            packed[at..at + 4].copy_from_slice(&(waiting as u32).to_le_bytes());
            at += 4;
            waiting >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&packed[..WIDTH * 4]);
}

/// A number in groups of seven bits, the lowest first; all but the last are marked.
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7F {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers of either sign as small ones without.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse of [`pack_runs`], by the words of the format.
    fn unpacked(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let header = read_varint(&mut bytes);
            let (number, packed) = ((header >> 1) as usize, header & 1 == 1);
            let length = if packed {
                number * width as usize
            } else {
                width.div_ceil(8) as usize
            };
            let (body, rest) = bytes.split_at(length);
            if packed {
                values.extend((0..number * 8).map(|index| bits_at(body, index * width as usize, width) as u32));
            } else {
                values.extend(std::iter::repeat_n(bits_at(body, 0, width) as u32, number));
            }
            bytes = rest;
        }
        assert!(bytes.is_empty());
        assert!(values[count..].iter().all(|filler| *filler == 0));
        values.truncate(count);
        values
    }

    fn bits_at(bytes: &[u8], from: usize, width: u32) -> u64 {
        let bit = |index: usize| u64::from(bytes[index / 8] >> (index % 8) & 1);
        (0..width as usize).fold(0, |value, offset| value | bit(from + offset) << offset)
    }

    fn read_varint(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7F) << shift;
            shift += 7;
            if *first < 0x80 {
                return number;
            }
        }
    }

    fn read_zigzag(bytes: &mut &[u8]) -> i64 {
        let number = read_varint(bytes);
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    /// The inverse of [`pack_differences`], by the words of the format.
    fn summed(mut bytes: &[u8]) -> Vec<i64> {
        let head: Vec<u64> = (0..3).map(|_| read_varint(&mut bytes)).collect();
        let (block, parts, count) = (head[0] as usize, head[1] as usize, head[2] as usize);
        let mut values = vec![read_zigzag(&mut bytes)];
        while values.len() < count {
            let least = read_zigzag(&mut bytes);
            let (widths, mut body) = bytes.split_at(parts);
            for width in widths {
                if values.len() >= count {
                    break;
                }
                for index in 0..block / parts {
                    let beyond = bits_at(body, index * *width as usize, u32::from(*width)) as i64;
                    values.push(values[values.len() - 1].wrapping_add(least).wrapping_add(beyond));
                }
                body = &body[block / parts * *width as usize / 8..];
            }
            bytes = body;
        }
        assert!(bytes.is_empty());
        values.truncate(count);
        values
    }

    #[test]
    fn what_is_packed_comes_back_at_every_width_with_and_without_runs() {
        for width in 0..=32_u32 {
            let mask = (1_u64 << width) - 1;
            let number = |index: u64| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20 & mask) as u32;
            let loose: Vec<u32> = (0..77).map(number).collect();
            let mut mixed = loose[..19].to_vec();
            mixed.extend([number(3); 50]);
            mixed.extend(&loose);
            mixed.extend([number(5); 8]);
            for values in [loose, mixed, vec![number(7); 1000], Vec::new()] {
                let mut bytes = Vec::new();
                pack_runs(&values, width, &mut bytes);
                assert_eq!(unpacked(&bytes, width, values.len()), values, "{width} bits");
            }
        }
    }

    #[test]
    fn runs_and_flags_are_what_is_read() {
        let mut bytes = Vec::new();
        pack_run(1, 300, 1, &mut bytes);
        assert_eq!(unpacked(&bytes, 1, 300), vec![1; 300]);
        bytes.clear();
        pack_flags(&[0b101, 1], &mut bytes);
        assert_eq!(unpacked(&bytes, 1, 9), [1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn differences_add_up_whatever_they_are() {
        let wide = |index: i64| index.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64);
        for count in [0_i64, 1, 2, 32, 33, 128, 129, 130, 1000] {
            let cases: [Vec<i64>; 4] = [
                (0..count).map(wide).collect(),
                (0..count).map(|index| index * index * 1000).collect(),
                (0..count)
                    .map(|index| if index % 2 == 0 { i64::MIN } else { i64::MAX })
                    .collect(),
                vec![7; count as usize],
            ];
            for values in cases {
                let mut bytes = Vec::new();
                pack_differences(&values, false, &mut bytes);
                if count == 0 {
                    assert_eq!(read_varint(&mut &bytes[3..]), 0);
                } else {
                    assert_eq!(summed(&bytes), values);
                }
            }
        }
    }

    #[test]
    fn differences_of_narrow_numbers_have_32_bits_at_most() {
        let ends = |row: usize| [i32::MIN, i32::MAX, 0, -5][row % 4];
        let values: Vec<i64> = (0..300).map(|row| i64::from(ends(row))).collect();
        let mut bytes = Vec::new();
        pack_differences(&values, true, &mut bytes);
        let back: Vec<i32> = summed(&bytes).into_iter().map(|value| value as i32).collect();
        assert_eq!(back, (0..300).map(ends).collect::<Vec<_>>());
        let mut after_head = &bytes[..];
        for _ in 0..5 {
            read_varint(&mut after_head);
        }
        assert!(after_head[..4].iter().all(|width| *width <= 32));
    }

    #[test]
    fn bits_that_numbers_need() {
        assert_eq!([0, 1, 2, 255, 256, u64::MAX].map(bits), [0, 1, 2, 8, 9, 64]);
    }
}
