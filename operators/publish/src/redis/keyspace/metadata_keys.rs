//! Metadata keys: the names under which a sink stores what it knows of its generations.

/// Metadata keys of one namespace, which is their common prefix.
#[derive(Debug, Clone)]
pub(crate) struct MetadataKeys(pub(crate) String);

impl MetadataKeys {
    /// Metadata of the published generation; with a number, of that generation (`publish: pointer`).
    pub(crate) fn metadata(&self, generation: Option<u64>) -> String {
        match generation {
            Some(generation) => format!("{}:META:{generation}", self.0),
            None => format!("{}:META", self.0),
        }
    }

    /// Fencing token of the run that writes.
    pub(crate) fn writing(&self) -> String {
        format!("{}:WRITING", self.0)
    }

    /// Ownership marker of a database (`publish: swap`); its value is the number of keys that are being loaded.
    pub(crate) fn owner(&self) -> String {
        format!("{}:OWNER", self.0)
    }

    /// Number of the staging database (`publish: swap`); stored in both databases.
    pub(crate) fn staging(&self) -> String {
        format!("{}:STAGING", self.0)
    }

    /// Hash from the number of each recorded generation to the number of its records.
    pub(crate) fn generations(&self) -> String {
        format!("{}:GENERATIONS", self.0)
    }

    /// Number of the generation that was started last.
    pub(crate) fn sequence(&self) -> String {
        format!("{}:SEQUENCE", self.0)
    }

    /// Number of the published generation (`publish: pointer`).
    pub(crate) fn current(&self) -> String {
        format!("{}:CURRENT", self.0)
    }

    /// Record of the keys in one chunk of a generation.
    pub(crate) fn record(&self, generation: u64, chunk: u64) -> String {
        format!("{}:KEYS:{generation}:{chunk}", self.0)
    }

    /// Whether a key is the name of a record.
    pub(crate) fn is_record(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(self.0.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b":KEYS:"))
    }

    /// Key of a document in a generation. The braces are a hash tag: it lies in the cluster slot of the key itself.
    pub(crate) fn of_generation(&self, generation: u64, key: &[u8]) -> Vec<u8> {
        let mut name = format!("{}:{generation}:{{", self.0).into_bytes();
        name.extend_from_slice(key);
        name.push(b'}');
        name
    }

    /// Whether a key belongs to the namespace.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.0.as_bytes())
            .is_some_and(|rest| rest.starts_with(b":"))
    }
}

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn keys_of_a_generation_lie_in_the_slot_of_the_plain_key() {
        let versioned = MetadataKeys("RECS".to_owned()).of_generation(7, b"USER:42");
        assert_eq!(versioned, b"RECS:7:{USER:42}");
        assert_eq!(Slot::for_key(&versioned), Slot::for_key(b"USER:42"));
    }
}
