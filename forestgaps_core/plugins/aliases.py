"""Old names of components: `{"auroc": Renamed("area_under_roc", since="0.5")}` in a table of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from forestgaps_core.errors import nearest
from forestgaps_core.kinds import Renamed
from forestgaps_core.plugins.names import ComponentOffer, Plugin, full_name
from forestgaps_core.plugins.renamed_settings import warn_of_old_name


@frozen
class Alias:
    """An old name that a plugin offers, and the component that has the new one."""

    name: str
    component: ComponentOffer
    since: str

    @property
    def plugin(self) -> Plugin:
        return self.component.plugin

    def warn(self) -> None:
        version = f"{self.plugin.distribution} {self.since}" if self.since else ""
        warn_of_old_name(f"the {self.component.kind} {full_name(self)!r}", self.component.name, version)


def resolve_aliases(
    renamed: Sequence[tuple[Plugin, str, Renamed]], components: Mapping[str, Sequence[ComponentOffer]], hook: str
) -> dict[str, list[Alias]]:
    """Follow each old name to a component of the same plugin; one that leads nowhere is recorded for the plugin."""
    next_names = {(plugin.distribution, name): record.name for plugin, name, record in renamed}
    found: dict[str, list[Alias]] = {}
    for plugin, name, record in renamed:
        path = [name]
        while (plugin.distribution, path[-1]) in next_names:
            following = next_names[plugin.distribution, path[-1]]
            if following in path:
                plugin.fail("table", f"{hook}: the old name {name!r} leads in a circle: {' > '.join([*path, following])}")
                break
            path.append(following)
        else:
            own = {offer.name: offer for offers in components.values() for offer in offers if offer.plugin is plugin}
            if (component := own.get(path[-1])) is None:
                plugin.fail(
                    "table", f"{hook}: {name!r} is renamed to {path[-1]!r}, which it does not offer{nearest(path[-1], own)}"
                )
            else:
                found.setdefault(name, []).append(Alias(name, component, record.since))
    return found
