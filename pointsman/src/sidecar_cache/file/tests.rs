use std::os::unix::fs::PermissionsExt as _;

use pointsman_catalog::UnixMillis;
use pointsman_xds::ResourceType;

use super::*;
use crate::sidecar_cache::kept::tests::response;

fn owner(node: &str) -> Owner {
    Owner {
        node: node.to_owned(),
        listen: [127, 0, 0, 11].into(),
        xds: "cp:18000".to_owned(),
    }
}

fn contents() -> Contents {
    let mut kept = Kept::default();
    for kind in [ResourceType::Listener, ResourceType::Runtime] {
        kept.apply(response(kind, &[("a", b"1"), ("b", b"\n2")], &[]))
            .unwrap();
    }
    Contents {
        owner: owner("app-1"),
        contact: UnixMillis(1_700_000_000_123),
        kept,
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("app-1.cache")
    }

    fn take(&self, node: &str) -> CacheFile {
        CacheFile::take(&self.path(), owner(node)).unwrap()
    }
}

#[test]
fn what_was_written_is_read_and_nothing_lies_beside_it() {
    let place = Place::new();
    let file = place.take("app-1");
    assert_eq!(file.load().unwrap(), (None, None));
    file.write(&contents()).unwrap();
    assert_eq!(file.load().unwrap(), (Some(contents()), None));
    let mode = fs::metadata(place.path()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(place.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["app-1.cache", "app-1.cache.lock"]);
    file.remove().unwrap();
    file.remove().unwrap();
    assert_eq!(file.load().unwrap(), (None, None));
}

#[test]
fn a_person_can_see_whose_it_is_and_of_when() {
    let text = contents().encode();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("pointsman-sidecar-cache 2 "), "{text}");
    for part in [
        "\"app-1\"",
        "\"127.0.0.11\"",
        "\"cp:18000\"",
        "2023-11-14T22:13:20.123Z",
    ] {
        assert!(lines[1].contains(part), "{text}");
    }
}

#[test]
fn each_bit_that_is_turned_and_each_byte_that_is_missing_shows() {
    let whole = contents().encode();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(Contents::decode(&damaged).is_err(), "bit of byte {at}");
        assert!(Contents::decode(&whole[..at]).is_err(), "{at} bytes");
    }
}

#[test]
fn a_damaged_file_is_nothing_and_is_replaced() {
    let place = Place::new();
    let file = place.take("app-1");
    file.write(&contents()).unwrap();
    let mut bytes = fs::read(place.path()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(place.path(), bytes).unwrap();
    let (found, damage) = file.load().unwrap();
    assert_eq!(found, None);
    let damage = damage.unwrap();
    assert!(damage.contains("not those that were written"), "{damage}");
    file.write(&contents()).unwrap();
    assert_eq!(file.load().unwrap().0, Some(contents()));
}

#[test]
fn what_is_not_this_caches_is_refused_with_what_to_do() {
    let place = Place::new();
    place.take("app-1").write(&contents()).unwrap();
    let refused = |file: &CacheFile| file.load().unwrap_err().to_string();
    let other = refused(&place.take("app-2"));
    assert!(
        other.contains("app-1 on 127.0.0.11 from") && other.contains("app-2 on"),
        "{other}"
    );
    let elsewhere = Owner {
        listen: [127, 0, 0, 12].into(),
        ..owner("app-1")
    };
    let elsewhere = refused(&CacheFile::take(&place.path(), elsewhere).unwrap());
    assert!(
        elsewhere.contains("app-1 on 127.0.0.11 from")
            && elsewhere.contains("for app-1 on 127.0.0.12"),
        "{elsewhere}"
    );
    let file = place.take("app-1");
    let whole = String::from_utf8_lossy(&contents().encode()).into_owned();
    fs::write(place.path(), whole.replacen(" 2 ", " 3 ", 1)).unwrap();
    let later = refused(&file);
    assert!(later.contains("of format 3"), "{later}");
    fs::write(place.path(), "[server]\n").unwrap();
    let foreign = refused(&file);
    assert!(foreign.contains("is no cache of"), "{foreign}");
}

#[test]
fn a_file_of_a_former_version_is_nothing_and_is_replaced() {
    let place = Place::new();
    let file = place.take("app-1");
    let former = String::from_utf8_lossy(&contents().encode()).replacen(" 2 ", " 1 ", 1);
    fs::write(place.path(), former).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(MODE)).unwrap();
    let (found, why) = file.load().unwrap();
    assert_eq!(found, None);
    let why = why.unwrap();
    assert!(
        why.contains("of format 1") && why.contains("format 2"),
        "{why}"
    );
    file.write(&contents()).unwrap();
    assert_eq!(file.load().unwrap(), (Some(contents()), None));
}

#[test]
fn a_file_of_another_user_is_refused_by_name() {
    let place = Place::new();
    let mut file = place.take("app-1");
    file.write(&contents()).unwrap();
    let user = file.user;
    file.user += 1;
    let refused = file.load().unwrap_err().to_string();
    let says = format!(
        "belongs to user {user}, and this cache runs as user {}",
        user + 1
    );
    assert!(refused.contains(&says), "{refused}");
}

#[test]
fn what_lies_in_the_place_of_the_draft_does_not_become_the_file() {
    let place = Place::new();
    let file = place.take("app-1");
    let draft = with_ending(&place.path(), ".new");
    fs::write(&draft, "of somebody else").unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o666)).unwrap();
    file.write(&contents()).unwrap();
    assert_eq!(file.load().unwrap(), (Some(contents()), None));
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let place = Place::new();
    let file = place.take("app-1");
    file.write(&contents()).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o620)).unwrap();
    let refused = file.load().unwrap_err().to_string();
    assert!(refused.contains("mode 620"), "{refused}");
}

#[test]
fn one_process_keeps_a_file() {
    let place = Place::new();
    let first = place.take("app-1");
    let second = CacheFile::take(&place.path(), owner("app-1"));
    assert!(matches!(second, Err(FileError::Taken(_))), "{second:?}");
    drop(first);
    place.take("app-1");
}
