//! OpenTelemetry's own variables: what of them is understood, and what is wrong with them.
//!
//! They are often set for a whole cluster, so a mistake in them is a warning and no reason not to start.

use std::{path::PathBuf, time::Duration};

use super::sampler::Sampler;

/// Spans that wait, spans of a request, and the longest that one waits for others: OpenTelemetry's defaults.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
/// The longest that a request may take, likewise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most of each that is granted: memory and requests have bounds, whatever is asked for.
const LONGEST_QUEUE: usize = 65_536;
/// What OTLP over HTTP appends to the endpoint of all signals.
const PATH: &str = "v1/traces";

/// Everything that tracing takes.
#[derive(Clone, PartialEq)]
pub struct TelemetrySettings {
    pub(super) endpoint: String,
    /// May hold a credential.
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) sampler: Sampler,
    /// What every span says of the process.
    pub(super) resource: Vec<(String, String)>,
    pub(super) queue: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

impl std::fmt::Debug for TelemetrySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TelemetrySettings").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// What the variables come to.
#[derive(Debug, Default)]
pub struct Understood {
    /// None: nothing is traced.
    pub settings: Option<TelemetrySettings>,
    /// What is wrong, and what is done instead; a line each.
    pub warnings: Vec<String>,
}

impl TelemetrySettings {
    /// Reads the variables by `variable`; `service` is what the process is called unless they say otherwise. Without an
    /// endpoint nothing is traced, and nothing else is looked at.
    #[must_use]
    pub fn read(service: &str, variable: impl Fn(&str) -> Option<String>) -> Understood {
        let mut reader = Reader { variable, warnings: Vec::new() };
        let settings = reader.settings(service);
        Understood { settings, warnings: reader.warnings }
    }

    /// Where spans go, for people: without what may be a credential.
    #[must_use]
    pub fn place(&self) -> &str {
        self.endpoint.split(['?', '#']).next().unwrap_or_default()
    }
}

struct Reader<F> {
    variable: F,
    warnings: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    /// The value of a variable; an empty one counts as none.
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Of the variable for traces alone, or else of that for all signals: its name and value.
    fn of_traces(&self, name: &str) -> Option<(String, String)> {
        ["TRACES_", ""].iter().find_map(|signal| {
            let variable = format!("OTEL_EXPORTER_OTLP_{signal}{name}");
            self.get(&variable).map(|value| (variable, value))
        })
    }

    fn warn(&mut self, variable: &str, problem: &str) {
        self.warnings.push(format!("{variable}: {problem}"));
    }

    fn settings(&mut self, service: &str) -> Option<TelemetrySettings> {
        let (variable, endpoint) = self.of_traces("ENDPOINT")?;
        if self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        match self.get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return None,
            Some(_) => {
                self.warn("OTEL_TRACES_EXPORTER", "only otlp and none are known; nothing is traced");
                return None;
            }
        }
        let is_whole = variable.contains("TRACES");
        if let Some((variable, protocol)) = self.of_traces("PROTOCOL")
            && protocol != "http/protobuf"
        {
            self.warn(
                &variable,
                "only http/protobuf is spoken (collectors take it at port 4318); nothing is traced",
            );
            return None;
        }
        let endpoint = match endpoint.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() && !rest.contains('@') => match is_whole {
                true => endpoint,
                false => format!("{}/{PATH}", endpoint.trim_end_matches('/')),
            },
            _ => {
                self.warn(
                    &variable,
                    "it has to be a URL that begins with http:// or https://, without a user; nothing is traced",
                );
                return None;
            }
        };
        if let Some((variable, compression)) = self.of_traces("COMPRESSION")
            && compression != "none"
        {
            self.warn(&variable, "spans are sent uncompressed");
        }
        for name in ["CLIENT_KEY", "CLIENT_CERTIFICATE"] {
            if let Some((variable, _)) = self.of_traces(name) {
                self.warn(&variable, "client certificates are not supported; none is shown");
            }
        }
        let queue = self.count("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE);
        Some(TelemetrySettings {
            endpoint,
            headers: self
                .of_traces("HEADERS")
                .map(|(name, value)| self.pairs(&name, &value))
                .unwrap_or_default(),
            timeout: match self.of_traces("TIMEOUT") {
                Some((variable, _)) => self.millis(&variable, TIMEOUT),
                None => TIMEOUT,
            },
            ca_file: self.of_traces("CERTIFICATE").map(|(_, path)| path.into()),
            sampler: self.sampler(),
            resource: self.resource(service),
            queue,
            batch: self.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH).min(queue),
            delay: self.millis("OTEL_BSP_SCHEDULE_DELAY", DELAY),
        })
    }

    fn sampler(&mut self) -> Sampler {
        let Some(name) = self.get("OTEL_TRACES_SAMPLER") else { return Sampler::default() };
        let argument = self.get("OTEL_TRACES_SAMPLER_ARG");
        Sampler::named(&name, argument.as_deref()).unwrap_or_else(|problem| {
            self.warn("OTEL_TRACES_SAMPLER", &format!("{problem}; it is taken for parentbased_always_on"));
            Sampler::default()
        })
    }

    /// Names of the process: those that are given, and below them our own.
    fn resource(&mut self, service: &str) -> Vec<(String, String)> {
        const GIVEN: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let mut resource = self.get(GIVEN).map(|value| self.pairs(GIVEN, &value)).unwrap_or_default();
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            resource.retain(|(known, _)| known != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        let own = [
            ("service.name", service.to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", uuid::Uuid::new_v4().to_string()),
            ("telemetry.sdk.language", "rust".to_owned()),
            ("telemetry.sdk.name", "relay".to_owned()),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        for (name, value) in own {
            if !resource.iter().any(|(known, _)| known == name) {
                resource.push((name.to_owned(), value));
            }
        }
        resource
    }

    /// `a=1,b=2`, percent-encoded.
    fn pairs(&mut self, variable: &str, text: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let read = pair.split_once('=').and_then(|(name, value)| {
                let pair = (name.trim().to_owned(), decoded(value.trim())?);
                (!pair.0.is_empty()).then_some(pair)
            });
            match read {
                Some(pair) => pairs.push(pair),
                // It may be a credential, so it is not shown.
                None => self.warn(variable, "a part of it is no name=value; it is left out"),
            }
        }
        pairs
    }

    fn count(&mut self, variable: &str, default: usize) -> usize {
        self.number(variable, default, |number| {
            usize::try_from(number).ok().filter(|count| (1..=LONGEST_QUEUE).contains(count))
        })
    }

    fn millis(&mut self, variable: &str, default: Duration) -> Duration {
        let most = 10 * 60 * 1000;
        self.number(variable, default, |number| {
            (1..=most).contains(&number).then_some(Duration::from_millis(number))
        })
    }

    fn number<T: Copy + std::fmt::Debug>(
        &mut self,
        variable: &str,
        default: T,
        fits: impl Fn(u64) -> Option<T>,
    ) -> T {
        let Some(text) = self.get(variable) else { return default };
        text.parse().ok().and_then(fits).unwrap_or_else(|| {
            self.warn(variable, &format!("it is no number that can be used; it is taken for {default:?}"));
            default
        })
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Understood {
        TelemetrySettings::read("relay", |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(variables: &[(&str, &str)]) -> TelemetrySettings {
        let understood = read(variables);
        assert_eq!(understood.warnings, [""; 0]);
        understood.settings.expect("it is on")
    }

    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn it_is_off_unless_an_endpoint_is_named_and_nothing_says_off() {
        let endless: [&[(&str, &str)]; 5] = [
            &[],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_TRACES_SAMPLER", "nonsense"), ("OTEL_BSP_MAX_QUEUE_SIZE", "x")],
            &[ALL, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ALL, ("OTEL_TRACES_EXPORTER", "none")],
        ];
        for variables in endless {
            let understood = read(variables);
            assert!(understood.settings.is_none() && understood.warnings.is_empty(), "{variables:?}");
        }
    }

    #[test]
    fn the_path_is_added_to_the_endpoint_of_all_signals_alone() {
        assert_eq!(settings(&[ALL]).endpoint, "http://collector:4318/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in");
        assert_eq!(settings(&[ALL, own]).endpoint, "https://traces.example/in");
    }

    #[test]
    fn the_variables_of_traces_win_over_those_of_all_signals() {
        let settings = settings(&[
            ALL,
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20eA==, b = 2"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ]);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [header("authorization", "Basic eA=="), header("b", "2")]);
        assert_eq!(
            (settings.timeout, settings.delay),
            (Duration::from_millis(1500), Duration::from_millis(200))
        );
        assert_eq!((settings.queue, settings.batch), (100, 100));
        assert!(!format!("{settings:?}").contains("Basic"), "headers are secrets");
    }

    #[test]
    fn the_process_is_called_as_the_variables_have_it() {
        let name = |variables: &[(&str, &str)]| {
            let resource = settings(variables).resource;
            let names: Vec<_> = resource.iter().filter(|(name, _)| name == "service.name").collect();
            assert_eq!(names.len(), 1);
            names[0].1.clone()
        };
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,deployment.environment.name=test");
        assert_eq!(name(&[ALL]), "relay");
        assert_eq!(name(&[ALL, attributes]), "shop");
        assert_eq!(name(&[ALL, attributes, ("OTEL_SERVICE_NAME", "other")]), "other");
    }

    #[test]
    fn what_is_wrong_is_said_and_never_fatal() {
        let off = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@collector"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ];
        for wrong in off {
            let Understood { settings, warnings } = read(&[ALL, wrong]);
            assert!(settings.is_none() && warnings.len() == 1, "{wrong:?}: {warnings:?}");
            assert!(warnings[0].starts_with(wrong.0) && !warnings[0].contains("secret"), "{warnings:?}");
        }
        let on = [
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ];
        for wrong in on {
            let Understood { settings, warnings } = read(&[ALL, wrong]);
            assert!(settings.is_some() && warnings.len() == 1, "{wrong:?}: {warnings:?}");
            assert!(warnings[0].starts_with(wrong.0) && !warnings[0].contains("secret"), "{warnings:?}");
        }
    }
}
