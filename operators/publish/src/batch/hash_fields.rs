//! Hash fields, encoded as one document.

/// Appends a field: length and bytes of its name, then of its value.
pub(crate) fn push_field(name: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    let length = out.len();
    out.extend_from_slice(&[0; 4]);
    value(out);
    let written = (out.len() - length - 4) as u32;
    out[length..length + 4].copy_from_slice(&written.to_le_bytes());
}

/// MetadataKeys and values of the fields of a hash, in turn.
pub(crate) fn fields_of(mut document: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = document.split_first_chunk::<4>() {
        let (part, rest) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
        parts.push(part);
        document = rest;
    }
    parts
}
