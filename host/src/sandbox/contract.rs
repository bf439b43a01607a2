//! Reads from a component, before it runs, what it imports and exports: is it a plugin, and of which
//! role?

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::error::LoadError;
use super::plugin::Role;
use super::wasi;

const PACKAGE: &str = "relevo:plugin/";
/// The contract versions that this host runs: 0.1 and any patch of it.
const VERSION: &str = "0.1.";
const WASI_VERSION: &str = "0.2.";
/// `types` holds only types, but a component that uses them imports it.
const OFFERED: &[&str] = &["types", "state", "lookup", "log", "metrics"];
const LIFECYCLE: &str = "lifecycle";
const ROLES: [(&str, Role); 3] = [("enrich", Role::Enrich), ("route", Role::Route), ("aggregate", Role::Aggregate)];

const MIGRATION: &str = "migration";

/// What a component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) role: Role,
    /// It can bring over the state that a version with another layout left.
    pub(super) migrates: bool,
}

/// What a component exports that keeps to the contract.
///
/// # Errors
/// Names the import that plugins may not use, or what is missing among the exports.
pub(super) fn inspect(component: &Component, engine: &Engine, path: &Path) -> Result<Exported, LoadError> {
    let types = component.component_type();
    for (import, item) in types.imports(engine) {
        let known = match split(import) {
            (name, version) if name.starts_with(PACKAGE) => {
                check_version(import, version, path)?;
                OFFERED.contains(&&name[PACKAGE.len()..])
            }
            (name, version) => wasi::INTERFACES.contains(&name) && version.starts_with(WASI_VERSION),
        };
        if !known || !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
            return Err(LoadError::Import {
                path: path.into(),
                import: import.into(),
                allowed: format!(
                    "{PACKAGE}{{{}}}@{VERSION}x and, of wasi@{WASI_VERSION}x, what Rust's std imports: no sockets, no http",
                    OFFERED.join(",")
                ),
            });
        }
    }

    let (mut lifecycle, mut migrates) = (false, false);
    let mut roles = Vec::new();
    let mut others = Vec::new();
    for (export, _) in types.exports(engine) {
        let (name, version) = split(export);
        let Some(interface) = name.strip_prefix(PACKAGE) else {
            others.push(export.to_owned());
            continue;
        };
        check_version(export, version, path)?;
        lifecycle |= interface == LIFECYCLE;
        migrates |= interface == MIGRATION;
        roles.extend(ROLES.iter().filter(|(role, _)| *role == interface));
    }
    match roles.as_slice() {
        [(_, role)] if lifecycle => Ok(Exported { role: *role, migrates }),
        found => {
            let mut names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
            names.extend(lifecycle.then_some(LIFECYCLE));
            let found = match (names.is_empty(), others.is_empty()) {
                (false, _) => names.join(" and "),
                (true, false) => format!("only {}", others.join(", ")),
                (true, true) => "nothing".to_owned(),
            };
            Err(LoadError::Interface {
                path: path.into(),
                wrong: format!("exports {found} of the plugin contract"),
                allowed: format!("{PACKAGE}lifecycle@0.1.0 and one of enrich, route, aggregate (wit/relevo.wit)"),
            })
        }
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

fn check_version(name: &str, version: &str, path: &Path) -> Result<(), LoadError> {
    if version.starts_with(VERSION) {
        return Ok(());
    }
    Err(LoadError::Interface {
        path: path.into(),
        wrong: format!("{name} is of another version of the plugin contract"),
        allowed: format!("{VERSION}x; build it against the relevo-plugin SDK of this server"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect_text(text: &str) -> Result<Exported, String> {
        let engine = crate::sandbox::engine::build().unwrap();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        inspect(&component, &engine, Path::new("p.wasm")).map_err(|e| e.to_string())
    }

    fn exporting(names: &[&str]) -> String {
        let exports: String = names.iter().map(|n| format!("(export \"{n}\" (instance $i))")).collect();
        format!("(component (instance $i) {exports})")
    }

    #[test]
    fn the_role_is_read_from_the_exports_of_any_patch_version() {
        let lifecycle = "relevo:plugin/lifecycle@0.1.0";
        for (role, expected) in ROLES {
            let text = exporting(&[lifecycle, &format!("relevo:plugin/{role}@0.1.7")]);
            assert_eq!(inspect_text(&text), Ok(Exported { role: expected, migrates: false }));
        }
        let text = exporting(&[lifecycle, "relevo:plugin/aggregate@0.1.0", "relevo:plugin/migration@0.1.0"]);
        assert_eq!(inspect_text(&text), Ok(Exported { role: Role::Aggregate, migrates: true }));
    }

    #[test]
    fn a_wrong_interface_is_named_with_what_is_allowed() {
        for (names, expected) in [
            (vec![], "exports nothing of the plugin contract"),
            (vec!["wasi:http/incoming-handler@0.2.0"], "only wasi:http/incoming-handler@0.2.0"),
            (vec!["relevo:plugin/lifecycle@0.1.0"], "exports lifecycle of"),
            (vec!["relevo:plugin/route@0.1.0"], "exports route of"),
            (
                vec!["relevo:plugin/lifecycle@0.1.0", "relevo:plugin/route@0.1.0", "relevo:plugin/enrich@0.1.0"],
                "route and enrich and lifecycle",
            ),
            (vec!["relevo:plugin/lifecycle@0.2.0"], "lifecycle@0.2.0 is of another version"),
            (vec!["relevo:plugin/lifecycle"], "another version"),
        ] {
            let error = inspect_text(&exporting(&names)).unwrap_err();
            assert!(error.starts_with("p.wasm: ") && error.contains(expected), "{names:?}: {error}");
            assert!(error.contains("allowed: "), "{error}");
        }
    }

    #[test]
    fn an_import_beyond_the_contract_is_named() {
        for import in [
            r#""wasi:sockets/tcp@0.2.6" (instance)"#,
            r#""wasi:cli/environment@0.3.0" (instance)"#,
            r#""relevo:plugin/files@0.1.0" (instance)"#,
            r#""system" (func)"#,
        ] {
            let error = inspect_text(&format!("(component (import {import}))")).unwrap_err();
            let name = import.split('"').nth(1).unwrap();
            assert!(error.contains(&format!("imports {name}, which plugins may not use")), "{error}");
        }
    }
}
