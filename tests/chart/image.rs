//! The image, the compose file and the systemd unit say what the program and the chart say.

use std::{collections::BTreeSet, path::Path, time::Duration};

use relay::config::{Config, KEYS};
use serde_json::Value;

use crate::report::{list, map, read, report, root, scenario, text};

/// The arguments of an instruction, each time it stands there.
fn instructions(name: &str) -> Vec<String> {
    let dockerfile = read("Dockerfile").replace("\\\n", " ");
    let found = dockerfile.lines().filter_map(|line| line.strip_prefix(&format!("{name} ")));
    found.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_image_is_built_with_a_compiler_that_is_new_enough_and_runs_as_the_charts_user() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    assert!(instructions("FROM")[0].starts_with(&format!("rust:{wanted}-")), "rust-version is {wanted}");
    let user = &report()["values"]["podSecurityContext"];
    assert_eq!(instructions("USER"), [format!("{}:{}", user["runAsUser"], user["runAsGroup"])]);
    let version = format!("image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(instructions("LABEL")[0].contains(&version), "no {version}");
    assert_eq!(instructions("EXPOSE"), [Config::default().admin.listen.port().to_string()]);
    let relay = scenario("minimal").find("Deployment/shop-relay").pod().unwrap();
    let container = &relay["spec"]["containers"][0];
    assert_eq!(instructions("ENTRYPOINT"), [container["command"].to_string()]);
    assert_eq!(instructions("CMD"), [container["args"].to_string()]);
}

#[test]
fn the_image_is_built_from_everything_that_the_sources_include() {
    let copied: Vec<String> = instructions("COPY")
        .iter()
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.split(' ').filter(|word| *word != "./").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let ignored = read(".dockerignore");
    for path in &copied {
        assert!(root().join(path).exists(), "there is no {path}");
        assert!(ignored.lines().any(|line| line == format!("!{path}")), ".dockerignore leaves {path} out");
    }
    let mut included = BTreeSet::new();
    collect(&root().join("src"), &mut included);
    assert!(included.len() > 50, "only {} files were found: the search is broken", included.len());
    for path in included {
        let there = copied.iter().any(|copy| path == *copy || path.starts_with(&format!("{copy}/")));
        assert!(there, "src includes {path}, which the Dockerfile does not copy");
    }
}

/// Files that sources include, from the root.
fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        for named in
            ["include_str!(\"", "include_bytes!(\""].iter().flat_map(|name| source.split(name).skip(1))
        {
            let file = path.parent().unwrap().join(named.split('"').next().unwrap()).canonicalize().unwrap();
            found.insert(
                file.strip_prefix(root().canonicalize().unwrap()).unwrap().to_str().unwrap().to_owned(),
            );
        }
    }
}

#[test]
fn the_trial_says_what_the_program_understands() {
    let services = map(&report()["compose"]["services"]);
    for name in ["relay", "migrate"] {
        let service = &services[name];
        for (variable, value) in map(&service["environment"]) {
            let known = KEYS.iter().any(|key| key.variable() == *variable);
            assert!(known && value.is_string(), "{name} has {variable}");
        }
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]));
        for needed in map(&service["depends_on"]).keys() {
            let healthy = service["depends_on"][needed]["condition"] == "service_healthy";
            assert_eq!(healthy, !services[needed]["healthcheck"].is_null(), "{name} waits for {needed}");
        }
    }
    let listen = text(&services["relay"]["environment"]["RELAY_ADMIN_LISTEN"]);
    let port = Config::default().admin.listen.port();
    assert_eq!(listen, format!("0.0.0.0:{port}"));
    assert!(text(&list(&services["relay"]["ports"])[0]).ends_with(&format!(":{port}")));
    assert!(seconds(&services["relay"]["stop_grace_period"]) > Config::default().shutdown.grace);
    let context = text(&services["relay"]["build"]["context"]);
    assert!(root().join("dev/deploy").join(context).join("Dockerfile").exists());
}

fn seconds(value: &Value) -> Duration {
    humantime::parse_duration(text(value)).unwrap()
}

#[test]
fn the_unit_says_what_the_program_understands() {
    let unit = read("dev/deploy/relay.service");
    let all = |name: &str| -> Vec<&str> {
        unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
    };
    let credentials: BTreeSet<&str> =
        all("LoadCredential").iter().map(|one| one.split(':').next().unwrap()).collect();
    assert_eq!(all("Environment").len(), credentials.len());
    for setting in all("Environment") {
        let (variable, file) = setting.split_once('=').unwrap();
        let key = variable.strip_suffix("_FILE").unwrap();
        assert!(KEYS.iter().any(|one| one.secret() && one.variable() == key), "{variable}");
        assert!(credentials.contains(file.strip_prefix("%d/").unwrap()), "{file}");
    }
    assert!(all("ExecStart")[0].ends_with("/relay run"));
    let stop = humantime::parse_duration(all("TimeoutStopSec")[0]).unwrap();
    assert!(stop > Config::default().shutdown.grace + Duration::from_secs(5), "{stop:?}");
    for (name, wanted) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("MemoryDenyWriteExecute", "yes"),
        // Exit codes of a wrong command line and a wrong configuration.
        ("RestartPreventExitStatus", "2 78"),
    ] {
        assert_eq!(all(name), [wanted], "{name}");
    }
}
