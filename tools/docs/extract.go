package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// extract returns the code of one symbol with its comment, and its first and last line.
// Without a symbol it is the whole file. In Go a symbol is a function, type, constant, variable or
// Type.Method; in SQL the name of a sqlc query or of a function or table.
func extract(file, symbol string) (code string, first, last int, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", 0, 0, err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	switch {
	case symbol == "":
		first, last = 1, len(lines)
	case filepath.Ext(file) == ".go":
		first, last, err = goSymbol(file, text, symbol)
	case filepath.Ext(file) == ".sql":
		first, last, err = sqlSymbol(lines, symbol)
	default:
		err = fmt.Errorf("include of a symbol works in .go and .sql only")
	}
	if err != nil {
		return "", 0, 0, fmt.Errorf("include %s#%s: %w", file, symbol, err)
	}
	return strings.Join(lines[first-1:last], "\n"), first, last, nil
}

func goSymbol(file string, text []byte, symbol string) (first, last int, err error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, text, parser.ParseComments)
	if err != nil {
		return 0, 0, err
	}
	for _, decl := range parsed.Decls {
		var node ast.Node
		var doc *ast.CommentGroup
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = receiver(d.Recv.List[0].Type) + "." + name
			}
			if name == symbol {
				node, doc = d, d.Doc
			}
		case *ast.GenDecl:
			if declares(d, symbol) {
				node, doc = d, d.Doc
			}
		}
		if node == nil {
			continue
		}
		start := node.Pos()
		if doc != nil {
			start = doc.Pos()
		}
		return fset.Position(start).Line, fset.Position(node.End()).Line, nil
	}
	return 0, 0, fmt.Errorf("no such symbol")
}

func receiver(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

func declares(d *ast.GenDecl, symbol string) bool {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.Name == symbol {
				return true
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.Name == symbol {
					return true
				}
			}
		}
	}
	return false
}

// sqlSymbol finds `-- name: Symbol` or `CREATE … symbol`; the block ends at the next empty line
// after its statement.
func sqlSymbol(lines []string, symbol string) (first, last int, err error) {
	at := -1
	for i, l := range lines {
		if strings.HasPrefix(l, "-- name: "+symbol+" ") {
			at = i
			break
		}
		upper := strings.ToUpper(l)
		if strings.HasPrefix(upper, "CREATE ") && (strings.Contains(l, " "+symbol+" ") || strings.Contains(l, " "+symbol+"(")) {
			at = i
			break
		}
	}
	if at < 0 {
		return 0, 0, fmt.Errorf("no such query, function or table")
	}
	first = at
	for first > 0 && strings.HasPrefix(lines[first-1], "--") && !strings.HasPrefix(lines[first-1], "-- +goose") {
		first--
	}
	last = at
	for last+1 < len(lines) && strings.TrimSpace(lines[last+1]) != "" && !strings.HasPrefix(lines[last+1], "-- +goose") {
		last++
	}
	return first + 1, last + 1, nil
}
