//! What a loaded plugin imports of the contract, for those who compare it with what its manifest asks.

use super::plugin::Plugin;

impl Plugin {
    /// The interfaces that it imports, like `state` and `lookup`; those of WASI are left out.
    pub fn imports(&self) -> Vec<String> {
        let component = self.pre().component();
        let types = component.component_type();
        let names = types.imports(self.pre().engine()).filter_map(|(name, _)| {
            let name = name.strip_prefix("relevo:plugin/")?.split('@').next()?;
            (name != "types").then(|| name.to_owned())
        });
        names.collect()
    }
}
