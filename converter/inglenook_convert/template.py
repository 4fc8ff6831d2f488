"""The chat template for checkpoints that have none, and for the demo model: written for Inglenook, in Jinja.

Other programs (llama.cpp's server, transformers) render conversations with it; Inglenook has its own renderer,
`inglenook.harmony`, and this template gives the same text, deviations from openai-harmony included. It takes what those
programs pass:

- `messages` with `role` and `content`; of the assistant also `thinking` (or `reasoning_content`, or `reasoning`) and
  `tool_calls`, whose arguments may be text or an object; a tool's without a `name` answers the last call;
- `tools` as JSON schemas in the form of OpenAI's API, with or without the outer `function`;
- `reasoning_effort` (medium), `current_date` (today, where the program offers `strftime_now`), `add_generation_prompt`.

A system or developer message becomes the developer's instructions; of several, all. Whether text can become a control
token is decided by the program that tokenizes it. Names are not cleaned, and schemas may nest as far as the caller can.
llama.cpp takes a template for one of gpt-oss by the words `<|start|>` and `<|channel|>` in it; its engine knows less of
Jinja than Jinja: there are no slices of strings here, and no `select`.
"""

CHAT_TEMPLATE = r"""{#- gpt-oss's harmony format as Inglenook renders it. -#}
{%- macro message(author, channel, content, end="<|end|>") -%}
  {{- "<|start|>" ~ author ~ ("<|channel|>" ~ channel if channel else "") -}}
  {{- (" <|constrain|>json" if end == "<|call|>" else "") ~ "<|message|>" ~ content ~ end -}}
{%- endmacro -%}

{%- macro text_of(content) -%}
  {%- if content is string -%}{{- content -}}
  {%- elif content is iterable -%}{%- for part in content -%}{{- part.text or "" -}}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}

{#- JSON without spaces. -#}
{%- macro json(value) -%}
  {%- if value is mapping -%}
    {{- "{" -}}
    {%- for key, item in value.items() -%}
      {{- ("" if loop.first else ",") ~ (key | tojson) ~ ":" ~ json(item) -}}
    {%- endfor -%}
    {{- "}" -}}
  {%- elif value is iterable and value is not string -%}
    {{- "[" -}}
    {%- for item in value -%}{{- ("" if loop.first else ",") ~ json(item) -}}{%- endfor -%}
    {{- "]" -}}
  {%- else -%}{{- value | tojson -}}
  {%- endif -%}
{%- endmacro -%}

{#- Lines between `before` and `after`; a line end at the end of the text begins no other line. -#}
{%- macro lines(text, before, between, after) -%}
  {%- for line in (text | replace("\r\n", "\n")).split("\n") if text -%}
    {%- if line or loop.first or not loop.last -%}
      {{- (before if loop.first else between) ~ line ~ after -}}
    {%- endif -%}
  {%- endfor -%}
{%- endmacro -%}

{%- macro comment(text, indent) -%}
  {{- lines(text, indent ~ "// ", indent ~ "// ", "\n") or indent ~ "// \n" -}}
{%- endmacro -%}

{%- macro one_line(text) -%}
  {{- lines(text, "", " ", "") -}}
{%- endmacro -%}

{%- macro default_of(schema, quote_enums) -%}
  {%- if schema.default is not string -%}{{- json(schema.default) -}}
  {%- elif schema["enum"] -%}{{- json(schema.default) if quote_enums else schema.default -}}
  {%- else -%}{{- '"' ~ schema.default ~ '"' -}}
  {%- endif -%}
{%- endmacro -%}

{%- macro nullable(schema, type) -%}
  {{- type ~ (" | null" if schema.nullable is true and "null" not in type else "") -}}
{%- endmacro -%}

{#- What stands behind a variant of a union, on its line. -#}
{%- macro remarks(variant, describe, quote_enums) -%}
  {%- set variant = variant if variant is mapping else {} -%}
  {%- set said = one_line(variant.description) if describe and variant.description is string else none -%}
  {%- set preset = "default: " ~ one_line(default_of(variant, quote_enums)) if "default" in variant else none -%}
  {%- if said is not none or preset is not none -%}
    {{- " // " ~ (said if said is not none else "") ~ (" " if said is not none and preset is not none else "") -}}
    {{- preset if preset is not none else "" -}}
  {%- endif -%}
{%- endmacro -%}

{#- The strings of a list, one or the other. -#}
{%- macro either(values, quote) -%}
  {%- set found = namespace(all="") -%}
  {%- for value in values if value is string -%}
    {%- set word = "number" if value == "integer" and not quote else value -%}
    {%- set found.all = found.all ~ (" | " if not loop.first else "") ~ quote ~ word ~ quote -%}
  {%- endfor -%}
  {{- found.all -}}
{%- endmacro -%}

{%- macro typescript(schema, indent) -%}
  {%- if schema is not mapping -%}any
  {%- elif "oneOf" in schema -%}
    {%- for variant in schema.oneOf -%}
      {{- "\n" ~ indent ~ " | " ~ nullable(variant, typescript(variant, indent ~ "   ")) -}}
      {{- remarks(variant, true, true) -}}
    {%- endfor -%}
  {%- elif schema.type is defined and schema.type is iterable and schema.type is not string -%}
    {{- either(schema.type, "") or "any" -}}
  {%- elif schema.type == "object" -%}
    {{- (comment(schema.description, indent) if schema.description is string else "") ~ "{\n" -}}
    {%- for name, property in (schema.properties or {}).items() -%}
      {{- property_of(indent ~ name ~ ("" if name in (schema.required or []) else "?") ~ ":", property, indent) -}}
    {%- endfor -%}
    {{- indent ~ "}" -}}
  {%- elif schema.type == "array" -%}
    {{- typescript(schema["items"], indent) ~ "[]" if "items" in schema else "Array<any>" -}}
  {%- elif schema.type == "string" -%}
    {{- either(schema["enum"] or [], '"') or "string" -}}
  {%- elif schema.type in ("number", "boolean") -%}{{- schema.type -}}
  {%- else -%}{{- "number" if schema.type == "integer" else "any" -}}
  {%- endif -%}
{%- endmacro -%}

{%- macro property_of(label, schema, indent) -%}
  {%- set schema = schema if schema is mapping else {} -%}
  {%- if schema.title is string -%}{{- comment(schema.title, indent) ~ indent ~ "//\n" -}}{%- endif -%}
  {%- if "oneOf" not in schema and schema.description is string -%}
    {{- comment(schema.description, indent) -}}
  {%- endif -%}
  {%- if schema.examples -%}
    {{- indent ~ "// Examples:\n" -}}
    {%- for example in schema.examples if example is string -%}
      {{- comment('- "' ~ example ~ '"', indent) -}}
    {%- endfor -%}
  {%- endif -%}
  {%- if "oneOf" in schema -%}{{- union_of(label, schema, indent) -}}
  {%- else -%}
    {{- label ~ " " ~ nullable(schema, typescript(schema, indent ~ "    ")) ~ "," -}}
    {{- (" // default: " ~ one_line(default_of(schema, false)) if "default" in schema else "") ~ "\n" -}}
  {%- endif -%}
{%- endmacro -%}

{%- macro union_of(label, schema, indent) -%}
  {%- set first = schema.oneOf[0].description if schema.oneOf and schema.oneOf[0] is mapping else none -%}
  {%- set above = schema.description is string and schema.description != first -%}
  {{- comment(schema.description, indent) if above else "" -}}
  {{- comment("default: " ~ default_of(schema, false), indent) if "default" in schema else "" -}}
  {{- label ~ "\n" -}}
  {%- for variant in schema.oneOf -%}
    {%- set describe = not (above and loop.first) and variant.description != schema.description -%}
    {{- indent ~ " | " ~ nullable(variant, typescript(variant, indent ~ "   ")) -}}
    {{- remarks(variant, describe, false) ~ "\n" -}}
  {%- endfor -%}
  {{- indent ~ ",\n" -}}
{%- endmacro -%}

{%- macro declared(tool) -%}
  {%- set f = tool.function or tool -%}
  {%- set p = f.parameters or {} -%}
  {%- set bare = not p or (p.type == "object" and not p.properties and "oneOf" not in p) -%}
  {{- (comment(f.description, "") if f.description else "") -}}
  {{- "type " ~ f.name ~ " = (" ~ ("" if bare else "_: " ~ typescript(p, "")) ~ ") => any;\n\n" -}}
{%- endmacro -%}

{#- Instructions, and the last answer: reasoning before it is left out. -#}
{%- set ns = namespace(developer="", last_final=-1, called="unknown") -%}
{%- for m in messages -%}
  {%- if m.role in ("system", "developer") and text_of(m.content) | trim -%}
    {%- set ns.developer = (ns.developer or "# Instructions") ~ "\n\n" ~ text_of(m.content) -%}
  {%- elif m.role == "assistant" and m.content and not m.tool_calls -%}
    {%- set ns.last_final = loop.index0 -%}
  {%- endif -%}
{%- endfor -%}
{%- if tools -%}
  {%- set ns.developer = ns.developer ~ ("\n\n" if ns.developer else "") -%}
  {%- set ns.developer = ns.developer ~ "# Tools\n\n## functions\n\nnamespace functions {\n\n" -%}
  {%- for tool in tools -%}{%- set ns.developer = ns.developer ~ declared(tool) -%}{%- endfor -%}
  {%- set ns.developer = ns.developer ~ "} // namespace functions" -%}
{%- endif -%}
{%- set date = current_date or (strftime_now("%Y-%m-%d") if strftime_now is defined else "") -%}
{%- set system = "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n" -%}
{%- set system = system ~ ("Current date: " ~ date ~ "\n" if date else "") -%}
{%- set system = system ~ "\nReasoning: " ~ (reasoning_effort or "medium") -%}
{%- set system = system ~ "\n\n# Valid channels: analysis, commentary, final." -%}
{%- set system = system ~ " Channel must be included for every message." -%}
{%- if tools -%}
  {%- set system = system ~ "\nCalls to these tools must go to the commentary channel: 'functions'." -%}
{%- endif -%}
{{- message("system", "", system) -}}
{{- message("developer", "", ns.developer) if ns.developer else "" -}}
{%- for m in messages -%}
  {%- if m.role == "user" -%}
    {{- message("user", "", text_of(m.content)) -}}
  {%- elif m.role == "assistant" -%}
    {%- set reasoning = m.thinking or m.reasoning_content or m.reasoning -%}
    {%- if reasoning and loop.index0 > ns.last_final -%}
      {{- message("assistant", "analysis", reasoning) -}}
    {%- endif -%}
    {%- if m.content -%}
      {{- message("assistant", "commentary" if m.tool_calls else "final", text_of(m.content)) -}}
    {%- endif -%}
    {%- for call in m.tool_calls or [] -%}
      {%- set f = call.function or call -%}
      {%- set ns.called = f.name -%}
      {%- set arguments = f.arguments if f.arguments is string else json(f.arguments or {}) -%}
      {{- message("assistant to=functions." ~ f.name, "commentary", arguments, "<|call|>") -}}
    {%- endfor -%}
  {%- elif m.role == "tool" -%}
    {{- message("functions." ~ (m.name or ns.called) ~ " to=assistant", "commentary", text_of(m.content)) -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|start|>assistant" -}}{%- endif -%}
"""
