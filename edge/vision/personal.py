"""Labels that would tell who a person is, what they are like or how they feel: privacy floor 7.

A list of words is no proof, and whoever makes a card can call an angry face `class7`. It keeps the models
that say what they do out of this firmware, also where the words are German, French, Spanish, Portuguese or
Italian, in the plural, joined, or disguised. What it cannot read, other scripts, it does not let pass. In
doubt a thing is refused as well (a clock's face, eye drops): its label can be changed, the floor cannot.
"""

import re
import unicodedata

_BODY = """
face head faceid visage gesicht cara rostro rosto viso volto eye auge augen oeil yeux ojo olho occhio
mouth mund bouche boca bocca nose nase nez nariz naso lip ear ohr oreille oreja chin cheek forehead
eyebrow wrinkle beard bearded bart barbe barba mustache moustache bald skin haut peau piel pele pelle iris
retina palmprint gait voice stimme voix voz pulse heartbeat heartrate body bmi weight pregnant disability
disabled
"""
_FEELINGS = """
mood stimmung humeur humor feeling gefuhl angry anger wutend wut colere enojado enfadado arrabbiato happy
happiness glucklich heureux heureuse feliz felice joy joie sad sadness traurig triste smile smiling smiler
lacheln lachelnd lachen sourire souriant sonrisa sonriente sorriso laugh laughing cry crying frown
frowning fear angst peur miedo medo paura afraid scared disgust disgusted contempt surprise surprised
neutral calm bored boredom confused stressed tired mude fatigue cansado drowsy drowsiness sleepy asleep
sleeping yawn yawning attentive attention attentiveness distracted engagement gaze gazing expression
sentiment
"""
_AGES = """
age aged year alter edad idade eta adult adulto adulte child children kind kinder enfant crianca kid
toddler infant baby babies bebe saugling bambino bambina teen teenager elderly senior young old junior
"""
_LOOKS = """
sex sexe sexo genre genero geschlecht man men woman women mann manner frau frauen homme femme hombre mujer
mujeres homem mulher mulheres uomo uomini donna donne male female boy girl junge jungen madchen garcon
fille nino nina lady ladies gentleman gentlemen guy race raza asian caucasian african hispanic latino
latina nationality religion muslim jewish christian attractive beautiful
"""
_WHO = """
celebrity employee worker colleague visitor stranger intruder owner family relative mother father husband
wife boyfriend girlfriend daughter son portrait headshot
"""
_WORDS = frozenset(f"{_BODY} {_FEELINGS} {_AGES} {_LOOKS} {_WHO}".split())
_STEMS = re.compile(
    "emotion|emocion|emozion|biometr|gender|facial|identit|identid|ethni|fingerprint|wom[ae]n|smiling|"
    # Not the surface, interface, typeface or facet.
    "^face(?!t)|(?<!sur)(?<!inter)(?<!type)(?<!pre)faces?$"
)
_PERSON = "person people persons persona personas personne personnes pessoa human humans pedestrian"
_PEOPLE = frozenset(_PERSON.split())
_THINGS = re.compile(
    r"\b(?:facial tissue|baby (?:bottle|buggy|carriage|monitor)|infant bed|child seat|sleeping bag|"
    r"(?:wo)?mens? (?:shoe|glove)|body lotion|old fashioned glass|shower head|head (?:set|phone|band|lamp)|"
    r"body (?:spray|wash)|weight scale|race car|bald eagle)s?\b"
)
"""Phrases of public label sets that hold a word of the above and mean a thing."""
_DISGUISES = (str.maketrans("01345789@$!|", "oieastbgasil"), str.maketrans("01345789@$!|", "oleastbgasll"))


def tells_of_a_person(label: str) -> bool:
    """Return whether a label speaks of a face, a feeling, an age, a gender, an identity or a body measure.

    A person is `person`: a label that says more of one, even a number, is refused.
    """
    joined = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", label))
    letters = unicodedata.normalize("NFKD", joined).casefold()
    plain = "".join(each for each in letters if not unicodedata.combining(each))
    if any(each.isalpha() and not unicodedata.name(each, "").startswith("LATIN") for each in plain):
        return True
    plain = _THINGS.sub(" ", re.sub(r"[\s_\-./]+", " ", plain))
    return any(_personal(plain.translate(table)) for table in ({}, *_DISGUISES))


def _personal(plain: str) -> bool:
    tokens = re.findall(r"[^\W_]+", plain)
    if tokens and all(len(token) == 1 for token in tokens):
        tokens = ["".join(tokens)]
    words = [word for token in tokens for word in re.findall(r"[^\W\d]+", token)]
    if any(word in _PEOPLE for word in words) and len("".join(tokens)) > len(words[0]):
        return True
    return any(_singular(word) & _WORDS or _STEMS.search(word) for word in words)


def _singular(word: str) -> set[str]:
    return {word, *(word.removesuffix(plural) for plural in ("s", "es", "n", "er"))}
