/// Whether a leader of epoch `own` gives way to one of epoch `found`, whose fence or session a server
/// carries: nothing is ever done for an older leader than the newest that was seen.
pub fn supersedes(found: u64, own: u64) -> bool {
    found > own
}
