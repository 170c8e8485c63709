package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// Print writes every setting as YAML that can be read again, each with where it came from; secrets are redacted, as comments.
func (e *Effective) Print(w io.Writer) error {
	p := &printer{w: w, origins: e.Origins}
	p.section(reflect.ValueOf(e.Config), "", 0)
	return p.err
}

type printer struct {
	w       io.Writer
	origins map[string]string
	err     error
}

func (p *printer) line(depth int, format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, strings.Repeat("  ", depth)+format+"\n", args...)
	}
}

func (p *printer) section(v reflect.Value, prefix string, depth int) {
	for field, value := range v.Fields() {
		key := keyOf(field)
		path := join(prefix, key)
		switch {
		case value.Kind() == reflect.Struct:
			p.line(depth, "%s:", key)
			p.section(value, path, depth+1)
		case value.Type() == secretType:
			if text := formatText(value); text != "" {
				p.line(depth, "# %s: %s  # %s", key, text, p.origins[path])
			}
		default:
			p.line(depth, "%s: %s  # %s", key, p.inline(value), p.origins[path])
		}
	}
}

// inline writes a scalar or list in one line.
func (p *printer) inline(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Struct:
		var pairs []string
		for field, value := range v.Fields() {
			pairs = append(pairs, keyOf(field)+": "+p.inline(value))
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	case v.Kind() == reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, p.inline(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case v.Kind() == reflect.String:
		text, err := yaml.MarshalWithOptions(v.String(), yaml.JSON())
		if err != nil && p.err == nil {
			p.err = err
		}
		return strings.TrimSpace(string(text))
	}
	return formatText(v)
}
