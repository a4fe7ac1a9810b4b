//! The address of a shared store: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `file:///FOLDER`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;

/// The address of a shared store. It has no credentials: those are taken from the environment when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    scheme: Scheme,
    /// The bucket or container; nothing for a folder.
    bucket: String,
    /// The path inside it, or the folder.
    prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    File,
    S3,
    Gs,
    Az,
}

const SCHEMES: [(&str, Scheme); 4] = [
    ("file", Scheme::File),
    ("s3", Scheme::S3),
    ("gs", Scheme::Gs),
    ("az", Scheme::Az),
];
const KNOWN: &str = "write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, rest)) = text.split_once("://") else {
            return Err(format!("this is not the address of a shared store: {KNOWN}"));
        };
        let Some((_, scheme)) = SCHEMES.into_iter().find(|(known, _)| *known == name) else {
            return Err(format!("`{name}://` is not the address of a shared store: {KNOWN}"));
        };
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') || rest.contains(['?', '#']) {
            return Err(
                "the address of a shared store has no credentials in it: they are taken from the environment"
                    .to_owned(),
            );
        }
        let prefix = match scheme {
            Scheme::File if !bucket.is_empty() || path.is_empty() => {
                return Err("a folder has three slashes: write file:///FOLDER".to_owned());
            }
            Scheme::File => format!("/{path}"),
            _ if bucket.is_empty() => return Err(format!("the bucket is missing: {KNOWN}")),
            _ if !cfg!(feature = "cloud") => {
                return Err(format!(
                    "this build has no `{name}://`: build it with the feature `cloud`, or write file:///FOLDER"
                ));
            }
            _ => path.trim_matches('/').to_owned(),
        };
        Ok(Address {
            scheme,
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SCHEMES.iter().find(|(_, scheme)| *scheme == self.scheme);
        let name = name.map_or("file", |(name, _)| name);
        let slash = if self.prefix.is_empty() || self.scheme == Scheme::File {
            ""
        } else {
            "/"
        };
        write!(f, "{name}://{}{slash}{}", self.bucket, self.prefix)
    }
}

impl Address {
    /// The root path in the object store.
    pub(super) fn root(&self) -> ObjectPath {
        match self.scheme {
            Scheme::File => ObjectPath::default(),
            _ => ObjectPath::from(self.prefix.as_str()),
        }
    }

    /// Opens the store, with what the environment says of credentials, endpoints and regions.
    pub(super) fn open(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        if self.scheme == Scheme::File {
            return folder(&self.prefix);
        }
        cloud(self)
    }
}

fn folder(path: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let told = |source: std::io::Error| object_store::Error::Generic {
        store: "folder",
        source: Box::new(source),
    };
    std::fs::create_dir_all(path).map_err(told)?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(path)?))
}

#[cfg(feature = "cloud")]
fn cloud(address: &Address) -> object_store::Result<Arc<dyn ObjectStore>> {
    use std::time::Duration;

    use object_store::aws::AmazonS3Builder;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;
    use object_store::{ClientOptions, RetryConfig};

    // A run waits for the store: one that does not answer is to be given up soon.
    let retry = RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(20),
        ..RetryConfig::default()
    };
    // The limit is for a whole request with its body; what gets no bytes for long is given up earlier.
    let bounded = |client: ClientOptions| {
        client
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(Duration::from_mins(10))
    };
    let http = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "true" | "1"));
    Ok(match address.scheme {
        Scheme::Gs => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(&address.bucket)
                .with_client_options(bounded(ClientOptions::new()))
                .with_retry(retry)
                .build()?,
        ),
        Scheme::Az => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_container_name(&address.bucket)
                .with_client_options(bounded(ClientOptions::new().with_allow_http(http("AZURE_ALLOW_HTTP"))))
                .with_retry(retry)
                .build()?,
        ),
        Scheme::S3 | Scheme::File => Arc::new(
            AmazonS3Builder::from_env()
                .with_bucket_name(&address.bucket)
                .with_client_options(bounded(ClientOptions::new().with_allow_http(http("AWS_ALLOW_HTTP"))))
                .with_retry(retry)
                .build()?,
        ),
    })
}

#[cfg(not(feature = "cloud"))]
fn cloud(address: &Address) -> object_store::Result<Arc<dyn ObjectStore>> {
    Err(object_store::Error::NotImplemented {
        operation: "opening it without the feature `cloud`".to_owned(),
        implementer: address.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, shown) in [
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("gs://bucket", "gs://bucket"),
            ("az://box/x", "az://box/x"),
            ("file:///srv/shared", "file:///srv/shared"),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|address| address.to_string()).as_deref(),
                Ok(shown)
            );
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, told) in [
            ("folder", "not the address"),
            ("http://host/x", "`http://` is not"),
            ("s3://", "bucket is missing"),
            ("s3://key:word@bucket/x", "from the environment"),
            ("az://box/x?sig=1234", "from the environment"),
            ("file://srv/shared", "three slashes"),
            ("file:///", "three slashes"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
            assert!(!error.contains("word") && !error.contains("1234"), "{error}");
        }
    }
}
