//! Files, names and flags.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use pointsman_lab::{control_plane::ControlPlane, ports::Port, scratch::Scratch};

use super::table::{Case, check_all};

/// Seven faults, each of another kind.
const DECLARATION: &str = r#"[servers.blue]
endpoint = "127.0.0.1"
control = "host=127.0.0.1 user=postgres password=hunter2 dbname=orders"
fence = "iron"

[databases.orders]
writer = "green"
readers = ["blue"]
listen = { writer = 6432, reader = 99999 }
colour = "red"
"#;

const SETTINGS: &str = "[hold]\nbudget_ms = 50\nbudget = 5\n\n[brakes]\nhard = true\n\n[alarm]\nfailures = \"three\"\n";

/// Every fault at once, each with its line, its field and what is allowed there.
fn broken_files<'a>(folder: &Path, data: &Path) -> Result<Vec<Case<'a>>> {
    let declaration = folder.join("dal.toml");
    fs::write(&declaration, DECLARATION)?;
    let torn = folder.join("torn.toml");
    fs::write(&torn, "[servers.blue]\nendpoint = \"127.0.0.1:5432\n")?;
    let settings = folder.join("settings.toml");
    fs::write(&settings, SETTINGS)?;
    let (none, serve) = (folder.join("none.toml"), "serve --data-dir {} --config {}");
    let apply = "database apply {}";
    let at = |file: &Path, message: &str| format!("{}:{message}", file.display());
    let paths: &[&Path] = &[data, &settings];
    Ok(vec![
        Case::new("a broken declaration", apply, &[&declaration], 1)
            .says(at(&declaration, "2: servers.blue.endpoint: "))
            .says("is not HOST:PORT with a port from 1 to 65535")
            .says(at(
                &declaration,
                "3: servers.blue.control: another dbname= than postgres; allowed: dbname=postgres, or none",
            ))
            .says(at(
                &declaration,
                "3: servers.blue.control: password=: a password would stand in the store",
            ))
            .says(at(
                &declaration,
                "4: servers.blue.fence: \"iron\" is not known; allowed: \"sql+hba\", \"sql\"",
            ))
            .says(at(
                &declaration,
                "7: databases.orders.writer: \"green\" is not under [servers]; allowed: blue",
            ))
            .says(at(
                &declaration,
                "9: databases.orders.listen.reader: 99999 is no port; allowed: 1 to 65535",
            ))
            .says(at(
                &declaration,
                "10: databases.orders.colour: not known; allowed: datname, writer, readers, listen",
            ))
            .never_says("hunter2"),
        Case::new("a declaration that is no TOML", apply, &[&torn], 1).says(at(&torn, "2: ")),
        Case::new("a declaration that is not there", apply, &[&none], 1)
            .says(format!("cannot read {}", none.display())),
        Case::new("broken settings", serve, paths, 1)
            .says("the settings are refused")
            .says(at(
                &settings,
                "2: hold.budget_ms: 50 is out of range; allowed: a whole number from 500 to 30000",
            ))
            .says(at(
                &settings,
                "3: hold.budget: unknown field; allowed in [hold]: budget_ms, settle_ms, login_ms, quiet_ms",
            ))
            .says(at(&settings, "5: brakes: unknown section; allowed: [hold]"))
            .says(at(&settings, "9: alarm.failures: found string; allowed: ")),
        Case::new("settings that are not there", serve, &[data, &none], 1)
            .says(format!("cannot read the settings file {}", none.display())),
    ])
}

fn unknown_names<'a>() -> Vec<Case<'a>> {
    let case = Case::new;
    let create = "migration create m --source blue --target green";
    vec![
        case("an unknown database", "database show orders", &[], 1)
            .says("there is no database orders; known: none"),
        case(
            "a flip of an unknown database",
            "flip orders --to blue",
            &[],
            1,
        )
        .says("there is no database orders; known: none"),
        case("an unknown server", create, &[], 1).says("there is no server blue; known: none"),
        case("an unknown migration", "migration status m", &[], 1)
            .says("there is no migration \"m\"; known: none"),
        case("a switch of an unknown one", "migration switch m", &[], 1)
            .says("there is no migration \"m\""),
        case("an unknown sidecar", "fleet retire sc9", &[], 1)
            .says("there is no sidecar sc9; registered: none"),
    ]
}

/// What the command line itself refuses, with the usage.
fn nonsense<'a>() -> Vec<Case<'a>> {
    let case = Case::new;
    vec![
        case("no verb", "migration", &[], USAGE).says("Usage"),
        case("an unknown verb", "migrate everything", &[], USAGE).says("migrate"),
        case("an unknown flag", "fleet status --wacth", &[], USAGE)
            .says("--wacth")
            .says("--watch"),
        case(
            "a flag that is missing",
            "migration create m --source blue",
            &[],
            USAGE,
        )
        .says("--target"),
        case(
            "no address",
            "serve --data-dir d --xds-listen nowhere",
            &[],
            USAGE,
        )
        .says("nowhere")
        .says("--xds-listen"),
        case(
            "no IP",
            "sidecar bootstrap sc1 --listen somewhere",
            &[],
            USAGE,
        )
        .says("somewhere"),
        case(
            "an unknown policy of an unlisted database",
            "migration create m --source a --target b --unlisted x=goes",
            &[],
            USAGE,
        )
        .says("moves or stays-closed"),
        case(
            "a name that is not allowed",
            "fleet retire SC_1!",
            &[],
            USAGE,
        )
        .says("is not allowed: 1 to 63 characters"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn files_names_and_flags_are_refused_with_what_is_allowed() -> Result<()> {
    let scratch = Scratch::new()?;
    let control_plane = ControlPlane::start(scratch.path(), "").await?;
    let data = scratch.path().join("nowhere");
    let mut cases = broken_files(scratch.path(), &data)?;
    cases.extend(unknown_names());
    cases.extend(nonsense());
    check_all(control_plane.admin(), cases).await?;
    assert!(!data.exists(), "refused settings left a store");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_port_is_refused_with_what_it_would_do() -> Result<()> {
    let scratch = Scratch::new()?;
    let control_plane = ControlPlane::start(scratch.path(), "").await?;
    let file = scratch.path().join("dal.toml");
    let text = "[servers.blue]\nendpoint = \"127.0.0.1:1\"\n\
                control = \"host=127.0.0.1 user=postgres\"\n[databases.orders]\nwriter = \"blue\"\n\
                listen = { writer = 6432, reader = 6433 }\n";
    fs::write(&file, text)?;
    let path = file.display().to_string();
    control_plane.cli_ok(&["database", "apply", &path]).await?;
    let changed = text
        .replace("6432", "6442")
        .replace("user=", "port=2 user=");
    fs::write(&file, changed)?;
    let refused = Case::new("another port", "database apply {}", &[&file], 1)
        .says("database orders: listen.writer 6432 → 6442")
        .says("end the sessions on it")
        .says("--cut-sessions");
    check_all(control_plane.admin(), [refused]).await?;
    let apply = ["database", "apply", &path, "--cut-sessions"];
    let applied = control_plane.cli_ok(&apply).await?;
    ensure!(
        applied
            == "changed server blue: control (not shown)\n\
                changed database orders: listen.writer 6432 → 6442\n",
        "{applied}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_does_not_answer_is_named() -> Result<()> {
    let nobody = Port::reserve()?.on_loopback();
    let unreachable = Case::new("nobody listens there", "migration list", &[], 1)
        .says(format!(
            "the control plane at http://{nobody} does not answer"
        ))
        .says("is `pointsman serve` running there?")
        .says("POINTSMAN_ADMIN");
    let malformed = Case::new("no address", "--admin not/a/host migration list", &[], 1)
        .says("not/a/host")
        .says("http://127.0.0.1:18001");
    check_all(nobody, [unreachable, malformed]).await
}

/// What the command line itself is refused with; no verdict has it.
const USAGE: i32 = 64;
