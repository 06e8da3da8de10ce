"""`edgekit recipes`: list the recipes, show one, or print their JSON schema."""

from __future__ import annotations

import click

from ..catalog import find, names
from .console import json_option, print_json, print_table
from .options import complete


@click.command("recipes", epilog="Example: edgekit recipes minilm-int8")
@click.argument("name", required=False, shell_complete=complete("recipes"))
@click.option("--schema", is_flag=True, help="Print the JSON schema of a recipe file, for editors.")
@json_option
def command(name: str | None, schema: bool, as_json: bool) -> None:
    """List recipes, or show one: what is done to a model."""
    from ..recipe import Recipe, load_recipe

    if schema:
        document = Recipe.model_json_schema(by_alias=True)
        print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **document})
    elif name and as_json:
        recipe = load_recipe(name)
        print_json({"name": recipe.name, **recipe.model_dump(mode="json", by_alias=True)})
    elif name:
        load_recipe(name)
        click.echo(find("recipes", name).read_text(encoding="utf-8").rstrip())
    else:
        recipes = [load_recipe(n) for n in names("recipes")]
        if as_json:
            print_json(
                [{"name": r.name, "description": r.description, "steps": [s.step for s in r.stage]} for r in recipes]
            )
        else:
            print_table(
                ("recipe", "steps", "what it does"),
                [(r.name, " → ".join(s.step for s in r.stage), r.description) for r in recipes],
            )
