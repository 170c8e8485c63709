package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder writes YAML into a Config and notes where each setting came from.
type decoder struct {
	source  string            // name of what is read: a file's path, "environment QUIPU_X"
	lines   bool              // whether line numbers mean anything
	origins map[string]string // by path
	errors  Errors
}

func (d *decoder) origin(node ast.Node) string {
	if !d.lines || node == nil || node.GetToken() == nil {
		return d.source
	}
	return d.source + ":" + strconv.Itoa(node.GetToken().Position.Line)
}

func (d *decoder) fail(node ast.Node, path, format string, args ...any) {
	d.errors = append(d.errors, &Error{Origin: d.origin(node), Path: path, Reason: fmt.Sprintf(format, args...)})
}

// parse reads a text of one YAML document. No document at all is nil.
func (d *decoder) parse(data []byte) ast.Node {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		d.failSyntax(err)
		return nil
	}
	if len(file.Docs) > 1 {
		d.fail(file.Docs[1], "", "there is more than one YAML document")
		return nil
	}
	if len(file.Docs) == 0 {
		return nil
	}
	return file.Docs[0].Body
}

func (d *decoder) failSyntax(err error) {
	origin, reason := d.source, err.Error()
	if e, ok := errors.AsType[yaml.Error](err); ok {
		reason = e.GetMessage()
		if token := e.GetToken(); token != nil && d.lines {
			origin += ":" + strconv.Itoa(token.Position.Line)
		}
	}
	if strings.Contains(reason, "'\t'") {
		reason = "a tab, where YAML wants blanks"
	}
	d.errors = append(d.errors, &Error{Origin: origin, Reason: strings.ReplaceAll(reason, "\n", " ")})
}

// value decodes a node into a struct, a list or a scalar.
func (d *decoder) value(target reflect.Value, node ast.Node, path string) {
	switch {
	case target.Kind() == reflect.Struct:
		d.mapping(target, node, path)
	case target.Kind() == reflect.Slice:
		d.sequence(target, node, path)
		d.origins[path] = d.origin(node)
	default:
		d.scalar(target, node, path)
		d.origins[path] = d.origin(node)
	}
}

func (d *decoder) mapping(target reflect.Value, node ast.Node, path string) {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode: // a section with everything commented out
		return
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		d.fail(node, path, "must be a section of settings, is %s", describe(node))
		return
	}
	for _, pair := range pairs {
		d.pair(target, pair, path)
	}
}

func (d *decoder) pair(target reflect.Value, pair *ast.MappingValueNode, path string) {
	key := strings.TrimSpace(pair.Key.GetToken().Value)
	var known []string
	for field, value := range target.Fields() {
		if keyOf(field) == key {
			d.value(value, pair.Value, join(path, key))
			return
		}
		known = append(known, keyOf(field))
	}
	d.fail(pair.Key, join(path, key), "unknown setting%s", nearest(key, known))
}

func (d *decoder) sequence(target reflect.Value, node ast.Node, path string) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fail(node, path, "must be a list, is %s", describe(node))
		return
	}
	list := reflect.MakeSlice(target.Type(), len(sequence.Values), len(sequence.Values))
	for i, item := range sequence.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if list.Index(i).Kind() == reflect.Struct {
			d.mapping(list.Index(i), item, at)
			continue
		}
		d.scalar(list.Index(i), item, at)
	}
	target.Set(list)
}

func (d *decoder) scalar(target reflect.Value, node ast.Node, path string) {
	if target.Type() == secretType {
		d.fail(node, path, "secrets are not kept here: use %s_file, or the environment variable %s", path, setting{path: path}.env())
		return
	}
	text, ok := scalarText(target, node)
	if !ok {
		d.fail(node, path, "must be %s, is %s", wanted(target.Type()), describe(node))
		return
	}
	if err := setText(target, text); err != nil {
		d.fail(node, path, "%v", err)
	}
}

// scalarText returns what a scalar says, and whether its type is one that the target takes.
func scalarText(target reflect.Value, node ast.Node) (string, bool) {
	number := target.Type() != durationType && target.CanInt() || target.CanFloat()
	switch n := node.(type) {
	case *ast.StringNode:
		quoted := n.Token != nil && n.Token.Value != n.Token.Origin && strings.ContainsAny(n.Token.Origin, `'"`)
		return n.Value, target.Kind() != reflect.Bool && (!quoted || !number || target.Type() == sizeType)
	case *ast.LiteralNode:
		return n.Value.Value, target.Kind() == reflect.String
	case *ast.IntegerNode:
		return n.Token.Value, number || target.Type() == durationType
	case *ast.FloatNode:
		return n.Token.Value, target.CanFloat() || target.Type() == durationType || target.Type() == sizeType
	case *ast.BoolNode:
		return strconv.FormatBool(n.Value), target.Kind() == reflect.Bool
	}
	return "", false
}

func describe(node ast.Node) string {
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a section"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return n.Token.Value + " (in quotes it would be a text)"
	case *ast.IntegerNode:
		return "the number " + n.Token.Value + " (in quotes it would be a text)"
	case *ast.FloatNode:
		return "the number " + n.Token.Value + " (in quotes it would be a text)"
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", n.Value)
	}
	return strings.ToLower(node.Type().String())
}
