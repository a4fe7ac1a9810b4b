//! Encodes JSON as a `google.protobuf.Struct`, which Merlin's text schema uses for NVTabular's additions.

use serde_json::Value;

/// Encodes a JSON object as a `Struct`.
pub(crate) fn encoded(object: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        let mut entry = Vec::new();
        delimited(&mut entry, 1, key.as_bytes());
        delimited(&mut entry, 2, &value_bytes(value));
        delimited(&mut out, 1, &entry);
    }
    out
}

/// A `google.protobuf.Value`: null is field 1, a number 2, a string 3, a Boolean 4, a struct 5, a list 6.
fn value_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Null => out.extend([1 << 3, 0]),
        Value::Number(number) => {
            out.push((2 << 3) | 1);
            out.extend(number.as_f64().unwrap_or_default().to_le_bytes());
        }
        Value::String(text) => delimited(&mut out, 3, text.as_bytes()),
        Value::Bool(flag) => out.extend([4 << 3, u8::from(*flag)]),
        Value::Object(_) => delimited(&mut out, 5, &encoded(value)),
        Value::Array(items) => {
            let mut list = Vec::new();
            for item in items {
                delimited(&mut list, 1, &value_bytes(item));
            }
            delimited(&mut out, 6, &list);
        }
    }
    out
}

/// Appends a length-delimited field.
fn delimited(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push((field << 3) | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length as u8 & 0x7f) | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::encoded;

    #[test]
    fn the_bytes_are_those_that_merlin_wrote() {
        assert_eq!(encoded(&json!({ "is_list": false })), b"\n\r\n\x07is_list\x12\x02 \0");
        assert_eq!(
            encoded(&json!({ "num_buckets": null })),
            b"\n\x11\n\x0bnum_buckets\x12\x02\x08\0"
        );
        let size = b"\n\x1c\n\x0fdtype_item_size\x12\t\x11\0\0\0\0\0\0P@";
        assert_eq!(encoded(&json!({ "dtype_item_size": 64.0 })), size);
        let dims = b"\n\x1e\n\x05_dims\x12\x152\x13\n\x112\x0f\n\t\x11\0\0\0\0\0\0\0\0\n\x02\x08\0";
        assert_eq!(encoded(&json!({ "_dims": [[0.0, null]] })), dims);
    }
}
