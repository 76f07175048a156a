"""What the rows of a hand count are about: names as textbooks and students write them.

A name that is known for sure leads to the rows of the derivation that it may mean. Any other name says nothing: the row
is then compared with all counts that a row may have.
"""

import re

from vitlib.counting import terms

Rows = tuple[str, ...]

ATTENTION: Rows = (*terms.PROJECTIONS, "Scores", "Weighted sum", terms.OUTPUT)
MLP: Rows = ("MLP, first layer", "MLP, second layer")
NORMS: Rows = ("Norm 1", "Norm 2")
EMBEDDING: Rows = ("Patch projection", *terms.EMBEDDINGS)

Q, K, V = r"(w ?)?q(uery|ueries)?", r"(w ?)?k(eys?)?", r"(w ?)?v(alues?)?"
AND = r"[ ,/&+-]*(and )?"
ATTN = r"(attention|attn|(attention )?(scores?|weights|prob\w*))"
LAYER = r"( (linear|projections?|proj|layers?|matri(x|ces)))*"
FFN = r"(mlp|ffn?|feed-?forward|fc|linear|dense|multi-?layer perceptron)"
NORM = r"(layer ?norm(alization)?|ln|norm)"

# the whole of a name, and what it may mean
KNOWN: tuple[tuple[str, tuple[Rows, ...]], ...] = (
    (rf"({Q}{AND}{K}{AND}{V}|(w ?)?qkv|in proj){LAYER}", (terms.PROJECTIONS,)),
    (rf"{Q}{LAYER}", (("Query",),)),
    (rf"{K}{LAYER}", (("Key",),)),
    (rf"{V}{LAYER}", (("Value",),)),
    (
        rf"{Q}\W*{K}\W*(t|transposed?)?( product| matmul)?|k\W*t\W*q|(attention |attn )?(scores?|similarit\w+)",
        (("Scores",),),
    ),
    (r"(scaled )?dot.product( attention)?", (("Scores",),)),
    (
        rf"a\W*v( matmul)?|attn\W*v( matmul)?|{ATTN}\W*(times|x|@|\*)\W*v(alues?)?|(attention|attn).values?( product)?",
        (("Weighted sum",),),
    ),
    (r"weighted (sum|values?)( of (the )?v(alues?)?)?|softmax\W*q\W*k\W*t?\W*v", (("Weighted sum",),)),
    (r"(w ?|to )?o(ut|utput)?( (linear|projections?|proj))?|concat\w* [a-z +]*output projection", ((terms.OUTPUT,),)),
    (rf"({FFN}[ ,:-]*)?(layer |linear |fc)?(first|1st)( layer| linear)?", (("MLP, first layer",),)),
    (
        rf"{FFN}[ ,:-]*((layer|linear|fc) ?)?1|w ?1|(mlp )?(expansion|up-?projection|hidden layer)",
        (("MLP, first layer",),),
    ),
    (rf"({FFN}[ ,:-]*)?(layer |linear |fc)?(second|2nd)( layer| linear)?", (("MLP, second layer",),)),
    (rf"{FFN}[ ,:-]*((layer|linear|fc) ?)?2|w ?2|(mlp )?(contraction|down-?projection)", (("MLP, second layer",),)),
    (r"(mlp|ffn|feed-?forward|multi-?layer perceptron)( block| network)?", (MLP,)),
    (rf"{NORM}[ -]?1|(first|1st) {NORM}|pre-?attention {NORM}", (("Norm 1",),)),
    (rf"{NORM}[ -]?2|(second|2nd) {NORM}|pre-?mlp {NORM}", (("Norm 2",),)),
    (rf"{NORM}", (("Norm 1",), NORMS, ("Final norm",), ("Norm 1", "Norm 2", "Final norm"))),
    (rf"(final|last) {NORM}|{NORM}[ -](final|f|last)", (("Final norm",),)),
    (r"(multi-?head )?(self-?)?attention|mha|mhsa|msa|attention block", (ATTENTION, ("Weighted sum",))),
    (r"patch( (embedding|projection|embed|linear))*", (("Patch projection",),)),
    (r"(cls|class)[ -](token|embedding)|cls", (("Class token",),)),
    (r"pos(ition\w*)?( (embed\w*|encod\w*))?|positions", (("Positions",),)),
    (r"(classification |classifier |mlp )?head|classifier", (("Head",),)),
    (r"(transformer )?encoder( layers| blocks)?", (terms.LAYER,)),
)
CATALOGUE: tuple[Rows, ...] = (  # what a row may count, whatever its name
    *dict.fromkeys(rows for _, meanings in KNOWN for rows in meanings),
    (*terms.PROJECTIONS, terms.OUTPUT),
    ("Scores", "Weighted sum"),
    terms.EMBEDDINGS,
    EMBEDDING,
    (*terms.PROJECTIONS, "Scores", "Weighted sum"),
    ("Final norm", "Head"),
    terms.LAYER,
)
TOTAL = {"total", "sum", "grand", "overall", "macs", "flops", "params", "parameters", "count"}
TOTAL |= {"network", "model", "whole", "all", "of", "the", "in"}
OF_A_LAYER = {"one", "single", "per", "a", "encoder", "layer", "block", "transformer"}


def meanings(name: str) -> tuple[Rows, ...]:
    """Return every set of rows that a known name can mean; none if the name is unknown."""
    plain = name.lower().replace("ᵀ", "t").replace("^t", "t").replace("\\", "").replace("_", " ")
    plain = re.sub(r"^\W*\d+[.)]\s+", "", plain)
    more = re.search(r"\([^)]*(\b(with|incl\w*|plus|and)\b|\+)", plain)  # than the name outside of the brackets says
    for text in (re.sub(r"[()]", " ", plain), "" if more else re.sub(r"\(.*?\)", " ", plain)):
        text = " ".join(text.split()).strip(" .,:")
        for pattern, rows in KNOWN:
            if text and re.fullmatch(pattern, text) and not re.search(r"\([^)]*\d|[×x]\s?\d|\d\s?[×x]", plain):
                return rows
    return ()


def is_total(name: str, of_a_layer: bool) -> bool:
    """Return whether a name says that the row is the total of its section, and of nothing less."""
    words = re.findall(r"[a-z]+", name.lower())
    allowed = TOTAL | OF_A_LAYER if of_a_layer else TOTAL
    says_total = {"total", "sum", "overall"} & {*words} or words in (["macs"], ["flops"], ["params"], ["parameters"])
    says_total = says_total or (of_a_layer and words[-2:] == ["encoder", "layer"])
    return bool(says_total) and {*words} <= allowed


def is_subtotal(name: str) -> bool:
    """Return whether a name says that the row adds up others."""
    return bool(re.search(r"\b(sub-?)?totals?\b|(?<!weighted )\bsum\b", name, re.IGNORECASE))
