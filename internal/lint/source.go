// Package lint holds the rules of this source tree that a compiler does not know:
// who may import whom, and the house rules for files. Its tests apply them to
// the tree; the rules are functions of a file tree, so that planted violations
// prove that each of them bites.
package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the import path of the tree's root.
const Module = "github.com/quipudb/quipu"

// Source is one Go file.
type Source struct {
	Path    string // from the root, with slashes
	Imports []string
	Lines   int

	syntax *ast.File
}

// Test tells whether the file is compiled for tests only.
func (s *Source) Test() bool { return strings.HasSuffix(s.Path, "_test.go") }

// Package is the file's folder, "." for the root.
func (s *Source) Package() string { return path.Dir(s.Path) }

// Load reads every Go file of a tree, whatever its build constraints. Hidden
// folders, testdata, other modules and what the local cluster wrote are left out.
func Load(tree fs.FS) ([]*Source, error) {
	var sources []*Source
	err := walk(tree, func(name string, _ fs.DirEntry) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		source, err := parse(tree, name)
		sources = append(sources, source)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load sources: %w", err)
	}
	return sources, nil
}

// walk visits every file of a tree that is ours.
func walk(tree fs.FS, visit func(name string, entry fs.DirEntry) error) error {
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			return visit(name, entry)
		case leftOut(tree, name):
			return fs.SkipDir
		}
		return nil
	})
}

func leftOut(tree fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || base == "testdata" || dir == "data" || dir == "bin" {
		return true
	}
	_, err := fs.Stat(tree, path.Join(dir, "go.mod"))
	return err == nil
}

func parse(tree fs.FS, name string) (*Source, error) {
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, content, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	source := &Source{Path: name, Lines: bytes.Count(content, []byte("\n")), syntax: file}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		source.Imports = append(source.Imports, imported)
	}
	slices.Sort(source.Imports)
	return source, nil
}

// ours is the folder of an imported package of this module.
func ours(imported string) (string, bool) {
	if imported == Module {
		return ".", true
	}
	return strings.CutPrefix(imported, Module+"/")
}
