package lint

import (
	"fmt"
	"go/ast"
	"strconv"
)

// maxLines is the length at which a file is to be split.
const maxLines = 600

// HouseRules reports files that are too long, init functions, and sleeping
// outside of tests.
func HouseRules(sources []*Source) []string {
	var violations []string
	report := func(source *Source, format string, args ...any) {
		violations = append(violations, source.Path+": "+fmt.Sprintf(format, args...))
	}
	for _, source := range sources {
		if source.Lines > maxLines {
			report(source, "%d lines, split it at %d", source.Lines, maxLines)
		}
		if hasInit(source.syntax) {
			report(source, "func init: wire it in cmd")
		}
		if !source.Test() && sleeps(source.syntax) {
			report(source, "time.Sleep: wait for the condition, or use a timer beside ctx.Done()")
		}
	}
	return violations
}

func hasInit(file *ast.File) bool {
	for _, declaration := range file.Decls {
		if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			return true
		}
	}
	return false
}

// sleeps finds time.Sleep, called or passed on, under whatever name the file
// imports time.
func sleeps(file *ast.File) bool {
	name := ""
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || imported != "time" {
			continue
		}
		name = "time"
		if spec.Name != nil {
			name = spec.Name.Name
		}
	}
	if name == "" {
		return false
	}
	found := false
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			found = found || ok && x.Name == name && n.Sel.Name == "Sleep"
		case *ast.Ident:
			found = found || name == "." && n.Name == "Sleep"
		}
		return !found
	})
	return found
}
