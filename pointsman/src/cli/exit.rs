//! The program's exit codes, besides those of a preflight's verdict. A usage error has a code
//! that no verdict has.

/// It did not happen, and stderr says why.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE` of sysexits.h).
pub(super) const USAGE: u8 = 64;

#[cfg(test)]
mod tests {
    use pointsman_cutover::checks::Verdict;

    use super::*;

    #[test]
    fn the_operators_page_lists_every_code() {
        let page = include_str!("../../../docs/operations.md");
        let rows = page.lines().skip_while(|line| *line != "| code | means |");
        let listed: Vec<u8> = rows
            .skip(2)
            .map_while(|line| line.split('|').nth(1)?.trim().parse().ok())
            .collect();
        let verdicts = [Verdict::Pass, Verdict::Warnings, Verdict::Blocked];
        let [pass, warnings, blocked] = verdicts.map(Verdict::exit_code);
        assert_eq!(listed, [pass, FAILED, warnings, blocked, USAGE]);
    }
}
