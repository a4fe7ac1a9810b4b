//! Whole numbers in decimal: four digits at a time out of a table, because lists are mostly numbers, and a batch has tens of
//! millions of them.

/// The most bytes of a number: a sign and 20 digits; with what is written beyond its end, and the `, ` behind it.
const ROOM: usize = 32;
/// The numbers that the tables have.
const BELOW: u64 = 10_000;

/// The digits of a number without zeros in front, the first one in the lowest byte; in the highest byte, how many they are.
static SHORT: [u64; BELOW as usize] = short();
/// Four digits of a number, the first one in the lowest byte.
static FULL: [u32; BELOW as usize] = full();

#[expect(clippy::large_stack_arrays, reason = "the compiler makes it, not the program")]
const fn short() -> [u64; BELOW as usize] {
    let mut table = [0; BELOW as usize];
    let mut value = 0;
    while value < table.len() {
        let count = match value {
            0..10 => 1,
            10..100 => 2,
            100..1000 => 3,
            _ => 4,
        };
        table[value] = digits(value as u64, count) | (count as u64) << 56;
        value += 1;
    }
    table
}

#[expect(clippy::large_stack_arrays, reason = "the compiler makes it, not the program")]
const fn full() -> [u32; BELOW as usize] {
    let mut table = [0; BELOW as usize];
    let mut value = 0;
    while value < table.len() {
        table[value] = digits(value as u64, 4) as u32;
        value += 1;
    }
    table
}

const fn digits(mut value: u64, count: usize) -> u64 {
    let mut bytes = 0;
    let mut place = count;
    while place > 0 {
        place -= 1;
        bytes |= (b'0' as u64 + value % 10) << (8 * place);
        value /= 10;
    }
    bytes
}

/// Writes a number at a place of `room`, which has [`ROOM`] bytes from there on; returns the place behind it.
#[expect(clippy::inline_always, reason = "it is all that a list is written with, and short")]
#[inline(always)]
fn write(mut value: u64, room: &mut [u8], mut at: usize) -> usize {
    let mut groups = [0_u32; 4];
    let mut count = 0;
    while value >= BELOW {
        groups[count] = FULL[(value % BELOW) as usize];
        value /= BELOW;
        count += 1;
    }
    let first = SHORT[value as usize];
    // What stands behind the digits is written over by what comes next. An assignment of an array is one instruction also
    // where little is optimised; to copy a slice is a call.
    if let Some(slot) = room[at..].first_chunk_mut() {
        *slot = first.to_le_bytes();
    }
    at += (first >> 56) as usize;
    while count > 0 {
        count -= 1;
        if let Some(slot) = room[at..].first_chunk_mut() {
            *slot = groups[count].to_le_bytes();
        }
        at += 4;
    }
    at
}

/// Appends a number.
pub(crate) fn push_uint(value: u64, out: &mut Vec<u8>) {
    let mut room = [0; ROOM];
    let end = write(value, &mut room, 0);
    out.extend_from_slice(&room[..end]);
}

/// Appends a number.
pub(crate) fn push_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    push_uint(value.unsigned_abs(), out);
}

/// Appends numbers with `, ` between them.
pub(crate) fn push_ints(values: &[i64], out: &mut Vec<u8>) {
    push_all(values, |value| (value < 0, value.unsigned_abs()), out);
}

/// Appends numbers with `, ` between them.
pub(crate) fn push_uints(values: &[u64], out: &mut Vec<u8>) {
    push_all(values, |value| (false, value), out);
}

/// Appends numbers, each of which is taken apart into whether it has a minus and how much it is.
#[expect(
    clippy::inline_always,
    reason = "it is all that a list is written with, for two types of numbers"
)]
#[inline(always)]
fn push_all<T: Copy>(values: &[T], apart: impl Fn(T) -> (bool, u64), out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len() * ROOM, 0);
    let room = &mut out[start..];
    let mut at = 0;
    for value in values {
        let (minus, amount) = apart(*value);
        if minus {
            room[at] = b'-';
            at += 1;
        }
        at = write(amount, room, at);
        room[at] = b',';
        room[at + 1] = b' ';
        at += 2;
    }
    out.truncate(start + at.saturating_sub(2));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"before ".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn joined(values: impl IntoIterator<Item = impl ToString>) -> String {
        let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        format!("before {}", texts.join(", "))
    }

    /// Numbers of every length.
    fn any_length() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift)
    }

    proptest! {
        #[test]
        fn whole_numbers_are_written_in_decimal(
            values in prop::collection::vec(any_length(), 0..20),
            minus in any::<bool>(),
        ) {
            let sign = |value: i64| if minus { value.wrapping_neg() } else { value };
            let signed: Vec<i64> = values.iter().map(|value| sign(*value as i64)).collect();
            for (unsigned, signed) in values.iter().zip(&signed) {
                prop_assert_eq!(text(|out| push_uint(*unsigned, out)), joined([unsigned]));
                prop_assert_eq!(text(|out| push_int(*signed, out)), joined([signed]));
            }
            prop_assert_eq!(text(|out| push_uints(&values, out)), joined(&values));
            prop_assert_eq!(text(|out| push_ints(&signed, out)), joined(&signed));
        }
    }

    #[test]
    fn the_ends_of_every_length_are_right() {
        let mut values = vec![0, u64::MAX, i64::MAX as u64, i64::MIN as u64];
        values.extend(
            (0..20)
                .map(|power| 10_u64.pow(power))
                .flat_map(|value| [value - 1, value, value + 1]),
        );
        assert_eq!(text(|out| push_uints(&values, out)), joined(&values));
        let signed = [i64::MIN, i64::MAX, -1, 0, -10_000, -9999];
        assert_eq!(text(|out| push_ints(&signed, out)), joined(signed));
    }
}
