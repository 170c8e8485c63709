// Package analyst reads what a person wants to ask a database, and lets through what only reads: one SELECT, of the views for analysts.
//
// The statement is parsed, not searched for words, by the parser of TiDB, which is kept for MySQL's language, is a module of its own with few
// dependencies, and writes a statement out again from its tree. What is sent is always what it wrote, never the text that came: a comment that one of the
// servers would run, or anything else that two parsers may read in two ways, is gone then.
//
// This is the first of two walls. The second is the account that the statement runs under, which may read these views and nothing else.
//
// A Parser is safe for concurrent use.
package analyst

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/format"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the parser's values, where no database is behind it
)

// MaxBytes bounds a statement.
const MaxBytes = 64 << 10

// Error says what is not offered, and where that stands.
type Error struct {
	Message string
	Line    int // from 1; 0: not known
	Column  int // from 1, in bytes
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Parser reads statements.
type Parser struct{ parsers sync.Pool }

// NewParser returns a parser.
func NewParser() *Parser {
	return &Parser{parsers: sync.Pool{New: func() any { return parser.New() }}}
}

// Parse returns the one SELECT that a text is, with parameters in place of its question marks, as it is to be sent. Parameters are what JSON
// gives: nil, bool, string, or json.Number. Its error is an *Error.
func (p *Parser) Parse(text string, params []any) (string, error) {
	if len(text) > MaxBytes {
		return "", &Error{Message: fmt.Sprintf("the statement has %d bytes, at most %d", len(text), MaxBytes)}
	}
	inner := p.parsers.Get().(*parser.Parser)
	defer p.parsers.Put(inner)
	statements, _, err := inner.ParseSQL(text)
	if err != nil {
		return "", syntaxError(err)
	}
	switch {
	case len(statements) == 0:
		return "", &Error{Message: "there is no statement"}
	case len(statements) > 1:
		return "", &Error{Message: fmt.Sprintf("one statement at a time, there are %d", len(statements))}
	}
	switch statements[0].(type) {
	case *ast.SelectStmt, *ast.SetOprStmt:
	default:
		return "", &Error{Message: "only SELECT is offered, also with WITH, UNION, INTERSECT and EXCEPT", Line: 1, Column: 1}
	}
	nameColumns(statements[0])
	v := &visitor{text: text, params: params}
	node, ok := statements[0].Accept(v)
	if !ok {
		return "", v.refused
	}
	if v.used < len(params) {
		return "", &Error{Message: fmt.Sprintf("%d parameters are given, but the statement has %d question marks", len(params), v.used)}
	}
	out, err := restore(node)
	if err != nil {
		return "", err
	}
	if err := stable(inner, out); err != nil {
		return "", err
	}
	return out, nil
}

// stable makes sure that what was written out is read as the same again: what is sent is then what was looked at.
func stable(inner *parser.Parser, text string) error {
	statements, _, err := inner.ParseSQL(text)
	if err == nil && len(statements) == 1 {
		if again, err := restore(statements[0]); err == nil && again == text {
			return nil
		}
	}
	return &Error{Message: "the statement can't be written out without doubt"}
}

func restore(node ast.Node) (string, error) {
	var out strings.Builder
	flags := format.DefaultRestoreFlags | format.RestoreStringEscapeBackslash | format.RestoreSpacesAroundBinaryOperation | format.RestoreStringWithoutDefaultCharset
	if err := node.Restore(format.NewRestoreCtx(flags, &out)); err != nil {
		return "", &Error{Message: "the statement can't be written out again: " + err.Error()}
	}
	return out.String(), nil
}

// place finds what the parser says of where it stopped.
var place = regexp.MustCompile(`line (\d+) column (\d+) near "((?s:.*))"`)

func syntaxError(err error) error {
	found := place.FindStringSubmatch(err.Error())
	if found == nil {
		return &Error{Message: "this can't be read: " + err.Error()}
	}
	line, _ := strconv.Atoi(found[1])
	column, _ := strconv.Atoi(found[2])
	near := found[3]
	if len(near) > 40 {
		near = strings.ToValidUTF8(near[:40], "") + "…"
	}
	if near == "" {
		return &Error{Message: "syntax error at the end", Line: line, Column: max(column, 1)}
	}
	return &Error{Message: fmt.Sprintf("syntax error near %q", near), Line: line, Column: max(column, 1)}
}

// valueOf returns a parameter as the parser has values.
func valueOf(param any) (any, error) {
	switch v := param.(type) {
	case nil, bool, string:
		return v, nil
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(string(v), 10, 64); err == nil {
			return n, nil
		}
		if strings.ContainsAny(string(v), "eE") {
			return v.Float64()
		}
		return ast.NewDecimal(string(v))
	}
	return nil, errors.New("must be null, true, false, a number or a text")
}
