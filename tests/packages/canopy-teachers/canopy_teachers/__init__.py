"""A package that declares a kind of component, offers components of it, wraps what is built and renames what it had before."""

from forestgaps_core import Kind, Renamed, hookimpl


@hookimpl
def forestgaps_kinds():
    return {
        "teacher": Kind(
            makes="a function of a batch that returns logits, from which a loss may learn",
            arguments={"thresholds": "the run's thresholds, meters, ascending", "seed": "the run's seed"},
            check="canopy_teachers.teachers:check_teacher",
        )
    }


@hookimpl
def forestgaps_components():
    return {"teacher": {"smooth": "canopy_teachers.teachers:Smooth", "blurred": Renamed("smooth", since="0.2")}}


@hookimpl
def forestgaps_losses():
    return {"distilled": "canopy_teachers.losses:Distilled", "distil": Renamed("distilled", since="0.3")}


@hookimpl
def forestgaps_callbacks():
    return {"halt": "canopy_teachers.halt:Halt"}


@hookimpl(wrapper=True)
def forestgaps_build(kind, name, config, context):
    built = yield
    if kind != "loss":
        return built
    from canopy_teachers.losses import Scaled

    return Scaled(built, 2.0)
