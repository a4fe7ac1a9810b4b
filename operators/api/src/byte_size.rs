//! Amounts of memory as people write them.

use crate::{Code, Problem};

/// The number of bytes that `text` means: a number, and `kB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB`, `GiB` (of 1024) or
/// `B`.
pub fn byte_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        _ => return None,
    };
    Some((number * factor) as usize).filter(|bytes| *bytes > 0)
}

/// What is wrong with the size under the config key `key`.
pub fn problem(text: Option<&str>, key: &str) -> Option<Problem> {
    let text = text.filter(|text| byte_size(text).is_none())?;
    let message = format!("`{text}` is not an amount of memory");
    Some(
        Problem::new(Code::BadConfig, message)
            .at(key)
            .help("write it as in `512MB` or `2GiB`"),
    )
}

#[cfg(test)]
mod tests {
    use super::byte_size;

    #[test]
    fn sizes() {
        assert_eq!(byte_size("512MB"), Some(512_000_000));
        assert_eq!(byte_size("1.5 KiB"), Some(1536));
        assert_eq!(byte_size("100"), Some(100));
        assert_eq!([byte_size("0MB"), byte_size("many"), byte_size("5 XB")], [None; 3]);
    }
}
