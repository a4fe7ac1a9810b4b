//! The git commit that a folder is at, read from git's own files: starting `git` would cost more than an unchanged rerun.

use std::fs;
use std::path::{Path, PathBuf};

/// The commit that is checked out in the repository of `folder`, if there is one.
pub(super) fn commit(folder: &Path) -> Option<String> {
    let git = git_folder(folder)?;
    let head = read(&git.join("HEAD"))?;
    let Some(reference) = head.strip_prefix("ref: ") else {
        return is_commit(&head).then_some(head);
    };
    // A linked worktree keeps its HEAD to itself and its branches in the main repository.
    let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    read(&git.join(reference))
        .or_else(|| read(&common.join(reference)))
        .or_else(|| packed(&common, reference))
        .filter(|commit| is_commit(commit))
}

fn git_folder(folder: &Path) -> Option<PathBuf> {
    let git = folder
        .ancestors()
        .map(|folder| folder.join(".git"))
        .find(|git| git.exists())?;
    if git.is_dir() {
        return Some(git);
    }
    let target = read(&git)?;
    Some(git.parent()?.join(target.strip_prefix("gitdir: ")?))
}

fn packed(git: &Path, reference: &str) -> Option<String> {
    let list = read(&git.join("packed-refs"))?;
    let line = list
        .lines()
        .find(|line| line.split_once(' ').is_some_and(|(_, name)| name == reference))?;
    Some(line.split_once(' ')?.0.to_owned())
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn is_commit(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_commit_on_a_branch_detached_packed_and_in_a_linked_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let git = folder.path().join("main/.git");
        let linked = git.join("worktrees/other");
        let inner = folder.path().join("main/deep/down");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::create_dir_all(&linked).unwrap();
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir_all(folder.path().join("other")).unwrap();
        assert_eq!(commit(&inner), None);
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(git.join("packed-refs"), format!("# pack-refs\n{a} refs/heads/main\n")).unwrap();
        assert_eq!(commit(&inner), Some(a.clone()));
        fs::write(git.join("refs/heads/main"), format!("{b}\n")).unwrap();
        assert_eq!(commit(&inner), Some(b.clone()));
        fs::write(linked.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(linked.join("commondir"), "../..\n").unwrap();
        fs::write(
            folder.path().join("other/.git"),
            format!("gitdir: {}\n", linked.display()),
        )
        .unwrap();
        assert_eq!(commit(&folder.path().join("other")), Some(b));
        fs::write(git.join("HEAD"), &a).unwrap();
        assert_eq!(commit(&inner), Some(a));
    }
}
