"""Labels that no model of this firmware may have, and things that it may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.personal import tells_of_a_person

COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,"
    "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,"
    "bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
THINGS = (
    "human,people,cell_phone,Mobile phone,Tablet computer,computer_keyboard,Facial tissue holder,"
    "facial_tissue,baby_buggy,baby bottle,Infant bed,sleeping_bag,ladybug,cowboy_hat,mannequin,doll,"
    "earphone,earring,headphones,headset,head set,lipstick,sunglasses,eyeglasses,notebook,paper,"
    "a4 paper,A4,mp3 player,ps4 controller,usb3 hub,usb-c cable,3d printer,hand,hand sanitizer,"
    "glove,manual,mandarin orange,management report,package,sausage,cottage cheese,bandage,"
    "garbage bin,surface laptop,interface cable,Personal computer,storage box,whiteboard,"
    "sticky note,post-it note,cigarette,e-cigarette,vape,energy drink,beer can,gun,smartwatch,"
    "cowbell,menu,mask,ID card,name tag,stress ball,monitor arm,highlighter,Bücher,crème,café"
)
SPELLINGS = (
    "face,Human Face,face_mask,faceId,ＦＡＣＥ,faces_front,humanface,HUMANFACE,faceDetector,F.A.C.E,"
    "f a c e,f4ce,f@ce,iris,biometrics,fingerprints,gaze,eye_open,mouth,nose,yawning,drowsy,happy,"
    "emotion-3,emotional state,neutral,person_smiling,smiling_person,smilingperson,sm1le,laughing,"
    "frowning,sad-0.9,old_person,person_1,person 2,two people,black_person,Human eye,male,woman,"
    "wom4n,Women,women's,m4n,b0y,9irl,gender,lady,gentleman,mother,age 20-30,ageGroup,20-30 years,"
    "child,kid,k1ds,toddler,infant,teenager,elderly,adult,identity,employee_id,celebrity,stranger,"
    "owner,asian,nationality,heartbeat,beard,headshot"
)
LANGUAGES = (
    "gesicht,Gesichter,mann,Männer,frau,Frauen,mädchen,junge,Jungen,kinder,alter,lächeln,wütend,"
    "glücklich,geschlecht,hombre,Hombres,mujer,mujeres,niño,niña,niños,rostro,cara,edad,sonrisa,"
    "emoción,género,feliz,triste,visage,Visages,homme,femme,femmes,enfant,âge,sourire,heureux,"
    "colère,genre,rosto,homem,mulher,criança,idade,viso,volto,uomo,donna,bambino,età,sorriso,"
    "emozione"
)
UNREADABLE = "Fасе,wоman,лицо,человек,顔,表情,وجه,πρόσωπο"
"""The first two are Latin but for two letters of Cyrillic."""


@pytest.mark.parametrize("label", f"{SPELLINGS},{LANGUAGES},{UNREADABLE}".split(","))
def test_a_label_that_tells_of_a_person_is_known(label):
    assert tells_of_a_person(label)


@pytest.mark.parametrize("label", f"{COCO},{THINGS}".split(","))
def test_things_are_not_personal(label):
    assert not tells_of_a_person(label)


@pytest.mark.parametrize("label", ["clock face", "eye drops", "lady finger", "face_mask_box", "ear plug"])
def test_a_thing_named_after_a_face_is_refused_too(label):
    """In doubt: whoever makes the card can name it otherwise."""
    assert tells_of_a_person(label)


@given(st.text(max_size=40))
def test_any_label_gets_an_answer(label):
    assert tells_of_a_person(label) in (True, False)
    assert tells_of_a_person(f"{label} face")
